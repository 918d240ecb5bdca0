package project

import (
	"context"
	"path"
	"slices"
	"strings"
)

// Differences tells what of the inputs of a stack differs between another commit
// and that of in, in words for people, sorted: the project paths of files, and
// "module /path" for the modules among them. Which files are a stack's is seen
// as it is in in. The error is that of git, where the other commit is not here.
//
// It serves to explain: whether there is a difference is for the digests to say.
func (p *Project) Differences(ctx context.Context, in *Inputs, since string) (func(stack string) []string, error) {
	out, err := p.top().git(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", since, in.Commit)
	if err != nil {
		return nil, err
	}
	var changed []string
	owned := map[string][]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		file := "/" + name
		if name == "" || strings.HasPrefix(file, "/.tmtriggers/") {
			continue
		}
		changed = append(changed, file)
		if owner, ok := in.enclosing(path.Dir(file)); ok {
			owned[owner] = append(owned[owner], file)
		}
	}
	return func(stack string) []string {
		found := slices.Clone(owned[stack])
		if s := in.stacks[stack]; s != nil {
			for _, e := range s.parts {
				if e.kind != "file" && slices.ContainsFunc(changed, func(file string) bool {
					return file == e.path || e.mode == modeTree && strings.HasPrefix(file, strings.TrimSuffix(e.path, "/")+"/")
				}) {
					what := e.path
					if e.kind == "module" {
						what = "module " + what
					}
					found = append(found, what)
				}
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}, nil
}

// enclosing is the nearest stack at or above a folder.
func (in *Inputs) enclosing(dir string) (string, bool) {
	for ; ; dir = path.Dir(dir) {
		if in.stacks[dir] != nil {
			return dir, true
		}
		if dir == "/" {
			return "", false
		}
	}
}
