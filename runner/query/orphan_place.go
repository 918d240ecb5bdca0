package query

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner/command"
)

// A destroy at a wrong place finds an empty state, and ends well: nothing was destroyed, and all looks as if. So
// an orphan's place has to be known, to be the one that is recorded, and to be nobody else's.

// Misplaced says why what is at a place is not what an orphan has deployed, or may be somebody else's; "" if
// it is. code says that the place is seen from the code, which is so of Terraform's commands; base is --target.
func (o *Orphanage) Misplaced(x *Orphan, base string, at command.Place, code bool, tree string) string {
	recorded, err := o.recorded(x)
	if err != nil {
		return err.Error()
	}
	if !code && len(recorded) == 0 && !at.Known() {
		return "" // it is no matter of Terraform
	}
	switch _, workspace, _ := strings.Cut(x.Target, "+"); {
	case !at.Known():
		return "its work tree is not initialised: tmnotes run --orphaned -- terraform init"
	case command.TargetOf(base, at.Workspace) != x.Target:
		return fmt.Sprintf("it was deployed in the workspace %s, and its work tree is in %s", cmp.Or(workspace, "default"), cmp.Or(at.Workspace, "default"))
	case len(recorded) > 0 && !slices.Contains(recorded, at.Backend):
		return fmt.Sprintf("it was deployed with the backend %s, and its work tree has %s: its state is elsewhere", recorded[0], at.Backend)
	}
	return o.shared(x, at, tree)
}

// recorded are the backends that an orphan may be deployed with: that of its latest success, all if it has none. One that
// it left has what was left there, if anything.
func (o *Orphanage) recorded(x *Orphan) (backends []string, err error) {
	of, latest := x.slot(), time.Time{}
	for _, p := range o.state.Places(of) {
		if p.Target != x.Target || p.Backend == "" {
			continue
		}
		l, err := o.state.LatestAt(of, p.Backend)
		if err != nil {
			return nil, err
		}
		if Destroyed(&l) {
			continue
		}
		if l.OKAt.After(latest) {
			backends, latest = nil, l.OKAt
		}
		if l.OKAt.Equal(latest) {
			backends = append(backends, p.Backend)
		}
	}
	return backends, nil
}

// Latest is the time of the latest record of an orphan, wherever it is deployed.
func (o *Orphanage) Latest(x *Orphan) (at time.Time, err error) {
	of := x.slot()
	for _, p := range o.state.Places(of) {
		of.Target = p.Target
		l, err := o.state.LatestAt(of, p.Backend)
		if err != nil {
			return at, err
		}
		if l.At.After(at) {
			at = l.At
		}
	}
	return at, nil
}

// Busy are the commits at which somebody may be at a stack for the target, or was killed.
func (o *Orphanage) Busy() (commits []string, err error) {
	for _, slot := range o.state.Slots() {
		if slot.Op != note.Deploy || slot.Target != o.target {
			continue
		}
		l, err := o.state.Latest(slot)
		if err != nil {
			return nil, err
		}
		if l.Record.Status.Open() {
			commits = append(commits, l.Commit)
		}
	}
	return commits, nil
}

// IsDestroyed reports whether an orphan is destroyed by now, by whomever.
func (o *Orphanage) IsDestroyed(x *Orphan) bool {
	st, err := o.store.State(o.ctx)
	if err != nil {
		return false
	}
	l, err := st.Latest(x.slot())
	return err == nil && Destroyed(&l)
}

func (x *Orphan) slot() note.Slot {
	return note.Slot{ID: x.ID, Path: x.Path, Target: x.Target, Op: note.Deploy}
}

// shared says which stack of HEAD has the state that an orphan has: it moved there, and had no id by which
// that would be known.
func (o *Orphanage) shared(x *Orphan, at command.Place, tree string) string {
	dir, root := filepath.Join(tree, filepath.FromSlash(x.At.Path)), o.project.Root()
	files := map[string]bool{} // where they are for the stacks of HEAD
	seen := ""                 // from the folder of the stack, where it is below the top
	for _, file := range at.StateFiles() {
		if rel, err := filepath.Rel(tree, file); err == nil && filepath.IsLocal(rel) {
			file = filepath.Join(root, rel)
			seen, _ = filepath.Rel(dir, filepath.Join(tree, rel))
		}
		files[file] = true
	}
	reader := NewReader(o.ctx, root)
	for _, s := range o.Head.Stacks {
		s.Dir = filepath.Join(root, filepath.FromSlash(s.Path))
		// The same words say another file in another folder.
		here := seen == "" || files[filepath.Join(s.Dir, seen)]
		place, err := reader.Place(command.Surroundings{Dir: s.Dir})
		place.Workspace = at.Workspace
		if slices.ContainsFunc(place.StateFiles(), func(file string) bool { return files[file] }) || err == nil && here && sameState(place.Backend, at.Backend) {
			return s.Path + " of HEAD has the same state"
		}
		declared := ""
		if err == nil && !place.HasBackend {
			declared, err = reader.Declared(place)
		}
		may := err == nil && here && !place.HasBackend && strings.HasSuffix(at.Backend, "."+declared)
		deployed, asThen := false, false // with a backend that is declared as it is now
		for _, p := range o.state.Places(note.Slot{ID: s.ID, Path: s.Path, Target: x.Target, Op: note.Deploy}) {
			if p.Target != x.Target {
				continue
			}
			if deployed = true; here && sameState(p.Backend, at.Backend) {
				return s.Path + " of HEAD has the same state"
			}
			asThen = asThen || strings.HasSuffix(p.Backend, "."+declared)
		}
		if deployed && may && !asThen {
			return s.Path + " of HEAD, which is not deployed as it is now, may have the same state: deploy it first"
		}
		if _, old := o.relations[x.Commit].Find(s); old || deployed {
			continue
		}
		inFile := len(files) > 0 && !place.HasBackend // a name that is not known yet may be that of any file
		if err != nil || inFile || may {
			return s.Path + " of HEAD, which is not deployed yet, may have the same state: deploy it first"
		}
	}
	return ""
}

// sameState compares what two backends are, however the code declares them.
func sameState(a, b string) bool {
	a, _, is := cutBackend(a)
	b, _, too := cutBackend(b)
	return is && too && a == b
}

func cutBackend(name string) (resolved, declared string, ok bool) {
	i := strings.LastIndex(name, ".")
	if i < 0 || !strings.Contains(name[:i], ".") {
		return "", "", false // it is beside the code, or not known
	}
	return name[:i], name[i+1:], true
}

// Emptied reports whether the state of an orphan may be empty because an attempt to destroy it was killed, or
// failed to record that it had; refused is what the reason says of an attempt that did nothing.
func (x *Orphan) Emptied(refused string) bool {
	l := &x.Deploy
	began := l.Took > 0 || l.Status == note.Interrupted
	return l.Record.Op == note.Destroy && began && !strings.Contains(l.Reason, refused)
}
