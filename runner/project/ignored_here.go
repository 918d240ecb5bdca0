package project

import (
	"context"
	"crypto/sha1"
	"path/filepath"
	"strings"
)

// IgnoredDigests are digests of nothing but the code of stacks that is not in the
// commit: what [Inputs] has of that, for who does not compute the rest. A stack that has
// none is not among them. It needs no project that is loaded. (What only the
// configuration of a Terragrunt unit calls is not looked at.)
func IgnoredDigests(ctx context.Context, root string, stacks []string) (map[string]string, error) {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	top := workTree{dir: root}
	return top.ignoredDigests(stacks, func(files []string) (map[string]bool, error) { return top.tracked(ctx, files) })
}

func (top workTree) ignoredDigests(stacks []string, whichTracked func(files []string) (map[string]bool, error)) (map[string]string, error) {
	calls := moduleCalls{top: top, memo: map[string]codeCalls{}}
	folders := map[string][]string{} // of a stack: those with code that it uses
	var ask []string
	for _, stack := range stacks {
		seen := map[string]bool{}
		calls.folders(stack, seen)
		for dir := range seen {
			folders[stack] = append(folders[stack], dir)
		}
	}
	for _, read := range calls.memo {
		ask = append(ask, read.names...)
	}
	tracked, err := whichTracked(ask)
	if err != nil {
		return nil, err
	}
	digests := map[string]string{}
	for _, stack := range stacks {
		var parts []part
		for _, dir := range folders[stack] {
			for _, file := range calls.memo[dir].names {
				if tracked[file] {
					continue
				}
				content, err := readThrough(calls.top.host(file))
				if err != nil {
					return nil, oneLine(file, err)
				}
				parts = append(parts, part{kindIgnored, file, ignoredEntry(content, 2*sha1.Size)})
			}
		}
		if len(parts) > 0 {
			_, ignored := committed(digestOf(parts))
			digests[stack] = partial + ignored
		}
	}
	return digests, nil
}

// partial begins a digest of ignored code alone.
const partial = InputsVersion + "::"

// Partial reports whether a digest is of ignored code alone.
func Partial(digest string) bool { return strings.HasPrefix(digest, partial) }

// Complete is a digest as it was recorded, with that of the recorded commit for what it
// lacks: all that is in the commit, where the record has none, or one of another version.
func Complete(recorded, ofCommit string) string {
	if _, ignored := committed(recorded); Partial(recorded) && ofCommit != "" {
		return ofCommit + ":" + ignored
	}
	return ofCommit
}

// SameIgnored reports whether two digests agree on code that git ignores.
func SameIgnored(recorded, now string) bool {
	if !strings.HasPrefix(recorded, InputsVersion+":") {
		recorded = "" // nothing is known of it
	}
	_, before := committed(recorded)
	_, ignored := committed(now)
	return before == ignored
}

// tracked are those of some files that are in git's index.
func (top workTree) tracked(ctx context.Context, files []string) (map[string]bool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	// git looks for each among all: to list these is quicker than many. And a command line has an end,
	// on Windows after 32 KiB.
	const most, longest = 50, 16 << 10
	if len(files) > most || len(strings.Join(literal(files), " ")) > longest {
		files = []string{"/"}
	}
	out, err := top.git(ctx, append([]string{"ls-files", "-z", "--"}, literal(files)...)...)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		found["/"+name] = true
	}
	return found, nil
}
