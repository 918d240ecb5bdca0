package project

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
)

// Touched is a stack that a change touches: its inputs are others after it than before.
type Touched struct {
	Path, ID string // as after the change; of a stack that it removes, as before
	// The digests of the inputs before and after; "" where it was no stack, or Unknown says why they cannot be known.
	Before, After  string
	Added, Removed bool     // it was no stack before; is none after
	Unknown        string   `json:",omitempty"`
	Files          []string // the project paths of the changed files that are among its inputs
}

// Touched are the stacks that a change from one commit to another touches, by path. What
// is not known of a stack's inputs may have changed, so such a stack is among them. The project
// is loaded as it was at both, as [Project.InputsAt] does; from may be "", before the first commit.
//
// Code that git ignores is no part of a change.
func (p *Project) Touched(ctx context.Context, from, to string) ([]Touched, error) {
	is, err := p.InputsAt(ctx, to)
	if err != nil {
		return nil, err
	}
	was := &Inputs{}
	if from != "" {
		if was, err = p.InputsAt(ctx, from); err != nil {
			return nil, err
		}
	}
	changed, err := p.changedFiles(ctx, from, is)
	if err != nil {
		return nil, err
	}
	all := maps.Clone(is.stacks)
	for at, s := range was.stacks {
		if all[at] == nil {
			all[at] = s
		}
	}
	var found []Touched
	for _, at := range slices.Sorted(maps.Keys(all)) {
		before, after := was.stacks[at], is.stacks[at]
		t := Touched{Path: at, ID: all[at].id, Added: before == nil, Removed: after == nil}
		for _, s := range []*stackInputs{before, after} {
			if s != nil && s.err != nil {
				t.Unknown = strings.Join(strings.Fields(s.err.Error()), " ")
			}
		}
		if before != nil {
			t.Before = before.digest
		}
		if after != nil {
			t.After = after.digest
		}
		if t.Unknown == "" && t.Before == t.After {
			continue
		}
		t.Files = filesOf(changed, before, after)
		found = append(found, t)
	}
	return found, nil
}

// changedFiles are the project paths of what differs between two commits, but for triggers.
func (p *Project) changedFiles(ctx context.Context, from string, to *Inputs) (changed []string, err error) {
	if from == "" {
		return to.t.files, nil
	}
	out, err := p.top().git(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", from, to.Commit)
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if file := "/" + name; name != "" && !strings.HasPrefix(file, "/.tmtriggers/") {
			changed = append(changed, file)
		}
	}
	return changed, nil
}

// filesOf are those of the changed files by which the parts of a stack differ. Where
// that cannot be told of a part, as of a variable, it is all that may be behind it.
func filesOf(changed []string, before, after *stackInputs) (files []string) {
	sides := map[part]int{}
	for i, s := range []*stackInputs{before, after} {
		if s != nil {
			for _, e := range s.parts {
				sides[e] |= 1 << i
			}
		}
	}
	differ := map[string]bool{} // paths
	for e, in := range sides {
		switch {
		case in == 3: // both
		case e.kind == kindEnv: // of Terramate's code
			for _, file := range changed {
				if strings.HasSuffix(file, ".tm") || strings.HasSuffix(file, ".tm.hcl") {
					differ[file] = true
				}
			}
		default:
			differ[path.Clean("/"+e.path)] = true
		}
	}
	for _, file := range changed {
		for at := file; ; at = path.Dir(at) {
			if differ[at] {
				files = append(files, file)
				break
			}
			if at == "/" {
				break
			}
		}
	}
	if len(files) == 0 {
		return changed
	}
	return files
}

// SameCommitted reports whether two digests are of the same inputs, but for code that is in no commit.
func SameCommitted(a, b string) bool {
	x, _ := committed(a)
	y, _ := committed(b)
	return a != "" && b != "" && x == y && !Partial(a) && !Partial(b)
}
