package project

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// readIgnored adds the code that lies in a folder and is not in the commit, which
// Terraform reads all the same: as a rule it is generated, and git ignores it. (What
// git does not ignore makes the stack dirty.)
func (c *code) readIgnored(dir string, calls *codeCalls) error {
	if c.work == "" {
		return nil
	}
	names, err := folderNames(filepath.Join(c.work, filepath.FromSlash(dir)))
	if err != nil {
		return oneLine(dir, err)
	}
	for _, name := range names {
		file := path.Join(dir, name)
		if _, is := c.t.entries[file]; is || !isCode(name) || c.absent[file] {
			continue
		}
		host := filepath.Join(c.work, filepath.FromSlash(file))
		if isFolder(host) {
			continue
		}
		content, err := readThrough(host)
		if err != nil {
			return oneLine(file, err)
		}
		found, err := readRefs(file, content)
		if err != nil {
			return oneLine(file, err)
		}
		calls.ignored = append(calls.ignored, part{kindIgnored, file, ignoredEntry(content, len(c.commit))})
		calls.merge(name, found)
	}
	return nil
}

// readThrough reads a file; a link to nothing is nil.
func readThrough(host string) ([]byte, error) {
	content, err := os.ReadFile(host)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if content == nil && err == nil {
		content = []byte{}
	}
	return content, err
}

// ignoredEntry is what stands for the content of ignored code, in a repository whose
// names are so long.
func ignoredEntry(content []byte, length int) treeEntry {
	if content == nil {
		return treeEntry{mode: missing}
	}
	return treeEntry{id: blobName(content, length)}
}

// folderNames are the names in a folder, none if it is not there.
func folderNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// blobName is what git calls a content in a repository whose names are so long.
func blobName(content []byte, length int) string {
	var h hash.Hash = sha1.New()
	if length == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	fmt.Fprintf(h, "blob %d\x00", len(content))
	h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// committed is the part of a digest that says what is in the commit, and the rest,
// what is not.
func committed(digest string) (inCommit, ignored string) {
	version, rest, _ := strings.Cut(digest, ":")
	sum, ignored, _ := strings.Cut(rest, ":")
	return version + ":" + sum, ignored
}

// Acknowledge is the digest then of a stack after a step that counts for nothing,
// from one digest to another: neither need know of code that git ignores.
func Acknowledge(then, from, to string) (string, bool) {
	inCommit, ignored := committed(then)
	before, _ := committed(from)
	if inCommit != before {
		return then, false
	}
	after, _ := committed(to)
	if ignored != "" {
		after += ":" + ignored
	}
	return after, true
}

// Ignored says why the digest then differs from that of the stack now, where it is
// for nothing but code that git ignores; "" where there is more to it.
func (in *Inputs) Ignored(stack, then string) string {
	s := in.stacks[stack]
	if s == nil || s.err != nil {
		return ""
	}
	was, before := committed(then)
	is, now := committed(s.digest)
	if was != is || before == now {
		return ""
	}
	var files []string
	for _, e := range s.parts {
		if e.kind == kindIgnored {
			files = append(files, e.path)
		}
	}
	slices.Sort(files)
	switch {
	case now == "":
		return "it was deployed with generated code that git ignores and that is missing here; run `terramate generate`"
	case before == "":
		return "code that git ignores was not there, or not looked at, when it was deployed: " + firstFew(files)
	}
	return "code that git ignores differs from what was deployed: " + firstFew(files)
}

// firstFew are the first few of many names.
func firstFew(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
