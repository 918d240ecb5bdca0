package project

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// Differences tells what of the inputs of a stack differs between another commit
// and that of in, in words for people, sorted: the project paths of files,
// "module /path" for the modules among them, "run.env NAME" for a variable, and where
// the code has what cannot be followed. Which files are a stack's is seen as it is in
// in. The error is that of git, where the other commit is not here.
//
// It serves to explain: whether there is a difference is for the digests to say.
func (p *Project) Differences(ctx context.Context, in *Inputs, since string) (func(stack string) []string, error) {
	out, err := in.git.git(ctx, "diff-tree", "-r", "-z", "--name-only", "--no-renames", since, in.Commit)
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
	then := sync.OnceValue(func() *Inputs {
		then, err := p.InputsAt(ctx, since)
		if err != nil {
			return &Inputs{} // it only explains
		}
		return then
	})
	return func(stack string) []string {
		found := slices.Clone(owned[stack])
		if s := in.stacks[stack]; s != nil {
			found = append(found, s.differ(changed)...)
			if p.hasRunEnv() {
				found = append(found, envDiffers(s, then().stacks[stack])...)
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}, nil
}

// differ are the parts of a stack, but for its own files, that changed files are of.
func (s *stackInputs) differ(changed []string) []string {
	var found []string
	for _, e := range s.parts {
		if e.kind == kindFile || e.kind == kindAny {
			continue
		}
		at := slices.IndexFunc(changed, func(file string) bool { return file == e.path || e.mode == modeTree && below(file, e.path) })
		switch {
		case at < 0:
		case e.kind == kindModule:
			found = append(found, "module "+e.path)
		case e.kind == kindRead:
			found = append(found, changed[at])
		default:
			found = append(found, e.path)
		}
	}
	if len(changed) > 0 {
		for _, place := range s.places {
			where, source, _ := strings.Cut(place, " ")
			found = append(found, fmt.Sprintf("the project (the module source at %s is an expression: %s)", where, source))
		}
	}
	return found
}

// envDiffers names the variables of run.env that differ.
func envDiffers(now, then *stackInputs) []string {
	var found []string
	was := map[string]string{}
	if then == nil {
		return nil
	}
	for _, e := range then.parts {
		if e.kind == kindEnv {
			was[e.path] = e.id
		}
	}
	for _, e := range now.parts {
		if e.kind != kindEnv {
			continue
		}
		if was[e.path] != e.id {
			found = append(found, "run.env "+e.path)
		}
		delete(was, e.path)
	}
	for name := range was {
		found = append(found, "run.env "+name)
	}
	return found
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

// Since names what of the inputs of a stack is not as in another version of the project, as
// [Project.Differences] does.
func (in *Inputs) Since(was *Inputs, stack string) []string {
	now, then := in.stacks[stack], was.stacks[stack]
	if now == nil || then == nil {
		return nil
	}
	found := envDiffers(now, then)
	has := map[part]bool{}
	for _, e := range then.parts {
		has[e] = true
	}
	name := func(e part) {
		switch e.kind {
		case kindEnv:
		case kindModule:
			found = append(found, "module "+e.path)
		default:
			found = append(found, e.path)
		}
	}
	for _, e := range now.parts {
		if !has[e] {
			name(e)
		}
		delete(has, e)
	}
	for e := range has {
		name(e)
	}
	slices.Sort(found)
	return slices.Compact(found)
}
