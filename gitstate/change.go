package gitstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Change is what a commit changed against its first parent, or a pull request against
// what it was made from.
type Change struct {
	Commit Commit
	Author string
	From   string // the commit before; "" of the first commit
	PR     int    // the number that it was asked for by, 0 if by a commit
}

// ChangeOf finds a commit by anything that git takes for a name of one. Its parent has to
// be here, too.
func (s *Store) ChangeOf(rev string) (c Change, err error) {
	if c.Commit, err = s.Resolve(rev); err != nil {
		return c, err
	}
	o, err := s.repo.Commit(c.Commit.Hash)
	if err != nil {
		return c, err
	}
	c.Author = o.Author.Name
	if len(o.ParentHashes) == 0 {
		return c, nil
	}
	c.From = o.ParentHashes[0].String()
	if has, err := s.Has(c.From); err != nil || has {
		return c, err
	}
	return c, fmt.Errorf("%s, the parent of %s, is not in this clone; `git fetch --unshallow` brings the history", note.Short(c.From), note.Short(c.Commit.Hash))
}

// ErrNoPR is returned by [Store.PullRequest] where nothing here names it.
var ErrNoPR = errors.New("nothing in this clone is of it")

// How the merge of a pull request of some number is called: by GitHub, Gitea and Forgejo,
// Bitbucket, Azure and GitLab; and what squashing it leaves on one commit, or rebasing on several.
const (
	mergedAs = `^Merge pull request #%[1]d |^Merge pull request '.*' \(#%[1]d\) |\(pull request #%[1]d\)$|^Merged PR %[1]d: |See merge request [^ ]*!%[1]d$`
	namedAs  = `\(#%[1]d\)$`
)

// PullRequest is what a pull or merge request changed, as far as this clone knows: what
// commits on the first-parent line of mainline (names of commits, of which some may not
// be here) say that they merged, or else a ref of the request as forges have them.
func (s *Store) PullRequest(ctx context.Context, n int, mainline ...string) (c Change, err error) {
	var tips []string
	for _, m := range mainline {
		if t, err := s.Resolve(m); err == nil && !slices.Contains(tips, t.Hash) {
			tips = append(tips, t.Hash)
		}
	}
	defer func() { c.PR = n }()
	if first, last, err := s.mergeOf(ctx, n, tips); err != nil {
		return c, err
	} else if last != "" {
		before, err := s.ChangeOf(first)
		if err != nil {
			return c, err
		}
		c, err = s.ChangeOf(last)
		c.From = before.From
		return c, err
	}
	for _, ref := range []string{"refs/pull/%d/head", "refs/merge-requests/%d/head", "refs/remotes/origin/pr/%d", "refs/pull/%d/merge^2", "refs/remotes/pull/%d/head"} {
		tip, err := s.Resolve(fmt.Sprintf(ref, n))
		if err != nil {
			continue
		}
		if c, err = s.ChangeOf(tip.Hash); err != nil || len(tips) == 0 {
			return c, err
		}
		// Of a head that the mainline has as its own no more than its last commit can be told.
		if base, err := s.repo.Git(ctx, nil, "merge-base", tips[0], tip.Hash); err == nil && strings.TrimSpace(base) != tip.Hash {
			c.From = strings.TrimSpace(base)
		}
		return c, nil
	}
	return c, ErrNoPR
}

// mergeOf finds the first and the last of the commits by which the mainline got a request.
func (s *Store) mergeOf(ctx context.Context, n int, tips []string) (first, last string, err error) {
	if len(tips) == 0 {
		return "", "", nil
	}
	args := []string{"log", "--no-show-signature", "--first-parent", "-z", "-E", "--grep=[#!]" + strconv.Itoa(n), "--grep=PR " + strconv.Itoa(n) + ":", "--format=%H %P%n%B"}
	out, err := s.repo.Git(ctx, nil, append(append(args, tips...), "--")...)
	if err != nil {
		return "", "", fmt.Errorf("looking for the merge of #%d: %w", n, err)
	}
	merge, named := regexp.MustCompile("(?m)"+fmt.Sprintf(mergedAs, n)), regexp.MustCompile(fmt.Sprintf(namedAs, n))
	parent := ""
	for entry := range strings.SplitSeq(out, "\x00") {
		names, message, _ := strings.Cut(entry, "\n")
		ids := append(strings.Fields(names), "", "")
		subject, _, _ := strings.Cut(message, "\n")
		switch {
		case merge.MatchString(message) && last == "":
			return ids[0], ids[0], nil
		case !named.MatchString(subject):
		case last == "":
			first, last, parent = ids[0], ids[0], ids[1]
		case parent == ids[0]: // one of several that were rebased
			first, parent = ids[0], ids[1]
		}
	}
	return first, last, nil
}

// Brought is the commit before those by which a mainline came to all that a pull request changed, of which the last is
// known: one where it was merged or squashed, several where it was rebased. It is "" where that cannot be told, or is the first commit.
func (s *Store) Brought(ctx context.Context, last string, files []string) (before string, err error) {
	const most = 250 // commits
	out, err := s.repo.Git(ctx, nil, "log", "--no-show-signature", "--first-parent", "-m", "--no-renames", "--no-relative", "--name-only", "-z", "--max-count="+strconv.Itoa(most), "--format=%x01%P", last, "--")
	if err != nil {
		return "", fmt.Errorf("looking for what %s merged: %w", note.Short(last), err)
	}
	missing := map[string]bool{}
	for _, file := range files {
		missing[file] = true
	}
	for i, entry := range strings.Split(out, "\x01")[1:] {
		parents, changed, _ := strings.Cut(entry, "\x00")
		for file := range strings.SplitSeq(changed, "\x00") {
			delete(missing, strings.TrimPrefix(file, "\n"))
		}
		of := strings.Fields(parents)
		switch {
		case len(of) == 0, len(of) > 1 && i > 0:
			return "", nil // a merge of something else
		case len(of) > 1, len(missing) == 0:
			return of[0], nil
		}
	}
	return "", nil
}

// At is a file of a commit, by its project path.
type At struct{ Commit, File string }

// FileIDs are the modes and objects that files are at commits, all of which are here: "100644 ID"; "" of a file
// that a commit has not. A submodule is one, too.
func (s *Store) FileIDs(ctx context.Context, of []At) (map[At]string, error) {
	ids := make(map[At]string, len(of))
	var ask strings.Builder
	var folders []string
	in := map[string][]At{} // folder of a commit → what was asked for there
	for _, at := range of {
		if _, known := ids[at]; known || strings.ContainsAny(at.File, "\n\x00") {
			continue
		}
		if ids[at] = ""; at.Commit == "" {
			continue
		}
		folder := at.Commit + ":" + strings.Trim(path.Dir("/"+at.File), "/")
		if in[folder] == nil {
			folders = append(folders, folder)
			ask.WriteString(folder + "\n")
		}
		in[folder] = append(in[folder], at)
	}
	if len(folders) == 0 {
		return ids, nil
	}
	out, err := s.repo.Git(ctx, strings.NewReader(ask.String()), "cat-file", "--batch-check=%(objectname) %(objecttype)")
	if err != nil {
		return nil, fmt.Errorf("reading what files are at commits: %w", err)
	}
	lines := strings.Split(out, "\n")
	trees := map[string]map[string]string{}
	for i, folder := range folders[:min(len(folders), len(lines))] {
		tree, is := strings.CutSuffix(lines[i], " tree")
		if !is {
			continue // there is no such folder
		}
		if trees[tree] == nil {
			if trees[tree], err = s.entries(tree); err != nil {
				return nil, fmt.Errorf("reading what files are at commits: %w", err)
			}
		}
		for _, at := range in[folder] {
			ids[at] = trees[tree][path.Base(at.File)]
		}
	}
	return ids, nil
}

// entries are the modes and objects of what a tree has.
func (s *Store) entries(tree string) (map[string]string, error) {
	hash := plumbing.NewHash(tree)
	body, err := s.repo.Read(hash, plumbing.TreeObject)
	entries := map[string]string{}
	for len(body) > 0 && err == nil {
		head, rest, _ := bytes.Cut(body, []byte{0})
		mode, name, is := strings.Cut(string(head), " ")
		if !is || len(rest) < len(hash) {
			return nil, fmt.Errorf("tree %s is damaged", tree)
		}
		entries[name] = fmt.Sprintf("%s %x", mode, rest[:len(hash)])
		body = rest[len(hash):]
	}
	return entries, err
}

// HasBlob reports whether a file anywhere below a folder of a commit is one that FileIDs named.
func (s *Store) HasBlob(ctx context.Context, commit, folder, id string) (bool, error) {
	args := []string{"ls-tree", "-r", "--full-tree", commit}
	if folder = strings.Trim(folder, "/"); folder != "" {
		args = append(args, "--", folder)
	}
	out, err := s.repo.Git(ctx, nil, args...)
	_, id, _ = strings.Cut(id, " ")
	return strings.Contains(out, " "+id+"\t"), err
}

// Before tells which of some commits, which are here, are those named or ancestors of one of them.
func (s *Store) Before(ctx context.Context, commits, of []string) (map[string]bool, error) {
	before := map[string]bool{}
	if len(of) == 0 {
		return before, nil
	}
	stdin := strings.Join(of, "\n") + "\n"
	for _, c := range commits {
		stdin += "^" + c + "\n"
	}
	out, err := s.repo.Git(ctx, strings.NewReader(stdin), "rev-list", "--stdin")
	if err != nil {
		return nil, fmt.Errorf("comparing commits: %w", err)
	}
	after := map[string]bool{}
	for line := range strings.Lines(out) {
		after[strings.TrimSpace(line)] = true
	}
	for _, c := range of {
		before[c] = !after[c]
	}
	return before, nil
}

// MergeOf is the merge by which the first-parent line of a tip came to a commit that is in its history, and what that line was at before; "" where
// the commit is on that line itself.
func (s *Store) MergeOf(ctx context.Context, commit, tip string) (merge, before string, err error) {
	with := map[string]bool{}
	for _, line := range []string{"--ancestry-path", "--first-parent"} {
		out, err := s.repo.Git(ctx, nil, "rev-list", line, "--parents", tip, "^"+commit, "--")
		if err != nil {
			return "", "", fmt.Errorf("looking for the merge of %s: %w", note.Short(commit), err)
		}
		for entry := range strings.Lines(out) {
			ids := strings.Fields(entry)
			switch {
			case line == "--ancestry-path":
				with[ids[0]] = true
			case with[ids[0]] && len(ids) > 2 && ids[1] != commit:
				merge, before = ids[0], ids[1] // the last is the oldest
			}
		}
	}
	return merge, before, nil
}

// Landed are the commits in the history of some tips, none of them in that of the change,
// where all files that the change is about are as the change, or a ref that has it, left them:
// those that it was squashed, rebased or picked to.
func (s *Store) Landed(ctx context.Context, c Change, files, tips []string) (landed []string, err error) {
	to := c.Commit.Hash
	stdin := "^" + to + "\n" + strings.Join(tips, "\n") + "\n--\n"
	for _, file := range files {
		stdin += ":(top,literal)" + strings.TrimPrefix(file, "/") + "\n"
	}
	out, err := s.repo.Git(ctx, strings.NewReader(stdin), "rev-list", "--stdin")
	if err != nil {
		return nil, fmt.Errorf("looking for what %s became: %w", note.Short(to), err)
	}
	candidates := strings.Fields(out)
	if len(candidates) == 0 {
		return nil, nil
	}
	refs, err := s.repo.Git(ctx, nil, "for-each-ref", "--count=50", "--format=%(objectname)", "--contains="+to, "refs/heads", "refs/remotes", "refs/pull", "refs/merge-requests")
	if err != nil {
		return nil, fmt.Errorf("looking for branches with %s: %w", note.Short(to), err)
	}
	images := unique(append([]string{to}, strings.Fields(refs)...))
	var ask []At
	for _, commit := range slices.Concat(candidates, images, []string{c.From}) {
		for _, file := range files {
			ask = append(ask, At{commit, file})
		}
	}
	ids, err := s.FileIDs(ctx, ask)
	if err != nil {
		return nil, err
	}
	same := func(a, b string) bool {
		return !slices.ContainsFunc(files, func(file string) bool { return ids[At{a, file}] != ids[At{b, file}] })
	}
	images = slices.DeleteFunc(images, func(image string) bool { return image != to && same(image, c.From) })
	for _, k := range candidates {
		if slices.ContainsFunc(images, func(image string) bool { return same(k, image) }) {
			landed = append(landed, k)
		}
	}
	return landed, nil
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

var revertsCommit = regexp.MustCompile(`This reverts commit ([0-9a-f]{7,64})`)

// Reverts are the commits in the history of some tips, and not in that of another, that say
// which one they revert, with that one's name, or its beginning.
func (s *Store) Reverts(ctx context.Context, after string, tips []string) (map[string]string, error) {
	stdin := "^" + after + "\n" + strings.Join(tips, "\n") + "\n"
	out, err := s.repo.Git(ctx, strings.NewReader(stdin), "log", "--stdin", "--no-show-signature", "-z", "--fixed-strings", "--grep=This reverts commit ", "--format=%H%n%B")
	if err != nil {
		return nil, fmt.Errorf("looking for reverts: %w", err)
	}
	found := map[string]string{}
	for entry := range strings.SplitSeq(out, "\x00") {
		commit, message, _ := strings.Cut(entry, "\n")
		if m := revertsCommit.FindStringSubmatch(message); m != nil {
			found[commit] = m[1]
		}
	}
	return found, nil
}
