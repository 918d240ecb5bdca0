package project

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/stack/trigger"

	"github.com/tmnotes/tmnotes/runner"
)

// Trigger writes Terramate's own trigger file for a stack, below .tmtriggers/
// at the project's top, as `terramate trigger` does. Once it is committed,
// change detection takes the stack as changed, or, with ignore, what changed in
// it as no change. What was loaded before does not know of the file.
func (p *Project) Trigger(s runner.Stack, ignore bool, reason string) error {
	if _, _, err := p.config(s); err != nil {
		return err
	}
	kind := trigger.Changed
	if ignore {
		kind = trigger.Ignored
	}
	return oneLine("triggering "+s.Path, trigger.Create(p.root(), tmproject.NewPath(s.Path), kind, reason))
}

// A Trigger is a trigger file of Terramate's (`terramate trigger`) in a commit.
type Trigger struct {
	Stack  string // project path of the stack that it is for
	Path   string // project path of the file
	ID     string // 12 hex digits that name its path, mode and content
	Ignore bool   // says that a change need not be deployed (--ignore-change)
	Reason string
}

// Triggers returns the trigger files of a commit, by stack, each list sorted by
// path. One that cannot be read is a trigger: what it was to say is not known.
func (p *Project) Triggers(ctx context.Context, commit string) (map[string][]Trigger, error) {
	return p.top().triggers(ctx, commit)
}

func (top workTree) triggers(ctx context.Context, commit string) (map[string][]Trigger, error) {
	t, err := top.readTree(ctx, commit, ".tmtriggers/")
	if err != nil || len(t.files) == 0 {
		return nil, err
	}
	ids := make([]string, 0, len(t.files))
	var found []Trigger
	for _, file := range t.files {
		e := t.entries[file]
		at, ok := trigger.StackPath(tmproject.NewPath(file))
		if !ok || e.mode == modeGitlink {
			continue
		}
		sum := sha256.Sum256([]byte(file + "\x00" + e.mode + "\x00" + e.id))
		found = append(found, Trigger{Stack: at.String(), Path: file, ID: hex.EncodeToString(sum[:6])})
		ids = append(ids, e.id)
	}
	dir, err := os.MkdirTemp("", "tmnotes-triggers-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	err = top.readBlobs(ctx, ids, func(i int, body []byte) error {
		// Terramate reads a trigger from a file.
		file := filepath.Join(dir, "trigger.tm.hcl")
		if err := os.WriteFile(file, body, 0o666); err != nil {
			return err
		}
		if info, err := trigger.ParseFile(file); err == nil {
			found[i].Ignore, found[i].Reason = info.Type == trigger.Ignored, info.Reason
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	by := map[string][]Trigger{}
	for _, tr := range found {
		by[tr.Stack] = append(by[tr.Stack], tr)
	}
	for _, list := range by {
		slices.SortFunc(list, func(a, b Trigger) int { return strings.Compare(a.Path, b.Path) })
	}
	return by, nil
}

// Introduced returns the first-parent commit of HEAD's history that brought a
// trigger file as it is at HEAD, and its first parent: "" and "" where that is not
// in this clone, and no parent for a first commit.
func (p *Project) Introduced(ctx context.Context, tr Trigger) (commit, parent string, err error) {
	return p.introduced(ctx, "HEAD", tr)
}

func (p *Project) introduced(ctx context.Context, head string, tr Trigger) (commit, parent string, err error) {
	out, err := p.top().git(ctx, "log", "--first-parent", "--diff-merges=first-parent", "--full-history", "--max-count=1", "--no-show-signature",
		"--format=%H %P", head, "--", ":(top,literal)"+strings.TrimPrefix(tr.Path, "/"))
	if err != nil {
		return "", "", err
	}
	f := strings.Fields(string(out))
	switch {
	case len(f) == 0:
		return "", "", nil
	case len(f) == 1:
		return f[0], "", nil
	}
	return f[0], f[1], nil
}
