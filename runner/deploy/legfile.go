package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/command"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// LegVersion is that of the form of the files. It changes where a leg that was made
// by one version would be misread by another.
const LegVersion = 2

// Leg is the file of a leg. The names are those of the keys of records.
type Leg struct {
	Version int        `json:"version"`
	MadeBy  string     `json:"made_by"` // the version of tmnotes
	Run     string     `json:"run"`
	Leg     int        `json:"leg"` // from 1
	Legs    int        `json:"legs"`
	Level   int        `json:"level"` // from 0; legs of one level do not wait for each other
	Seconds float64    `json:"seconds"`
	Commit  string     `json:"commit"`
	Target  string     `json:"target,omitempty"` // --target
	Reverse bool       `json:"reverse,omitempty"`
	Late    bool       `json:"allow_rollback,omitempty"`
	Force   bool       `json:"force,omitempty"`
	Break   string     `json:"break_hold,omitempty"`
	Stacks  []LegStack `json:"stacks"`
	Others  []LegStack `json:"others,omitempty"` // stacks of other legs that these come after

	// Of how it is used here.
	File  string               `json:"-"`
	of    map[string]*LegStack // by path, Stacks and Others
	Aside bool                 `json:"-"` // it says which stacks, and nothing else: see readLeg
	Anew  bool                 `json:"-"` // --force was given to the leg itself
}

// LegStack is a stack of a leg.
type LegStack struct {
	Stack   string   `json:"stack"`
	ID      string   `json:"id,omitempty"`
	Op      string   `json:"op"`
	Target  string   `json:"target,omitempty"`    // with the workspace, as in records
	Variant string   `json:"variant,omitempty"`   // of the words alone: a job may have values of its own
	Space   string   `json:"workspace,omitempty"` // TF_WORKSPACE
	Leg     int      `json:"leg,omitempty"`       // of another leg's
	After   []string `json:"after,omitempty"`     // stacks of other legs
}

// Check looks at what was read from a file: nothing that stands in it is believed.
func (l *Leg) Check() error {
	switch {
	case !command.ValidRun(l.Run):
		return fmt.Errorf("%q is not the id of a run", l.Run)
	case l.Leg < 1 || l.Leg > l.Legs:
		return fmt.Errorf("leg %d of %d", l.Leg, l.Legs)
	case len(l.Commit) != 40 || strings.Trim(l.Commit, "0123456789abcdef") != "":
		return fmt.Errorf("%q is not the full name of a commit", l.Commit)
	case len(l.Stacks) == 0:
		return errors.New("it has no stacks")
	}
	if err := project.ValidTarget(l.Target); err != nil {
		return err
	}
	l.of = map[string]*LegStack{}
	for _, list := range [][]LegStack{l.Others, l.Stacks} {
		for i := range list {
			u := &list[i]
			if !strings.HasPrefix(u.Stack, "/") || u.Op == "" || l.of[u.Stack] != nil {
				return fmt.Errorf("the stack %q is malformed, or is listed twice", u.Stack)
			}
			l.of[u.Stack] = u
		}
	}
	for _, u := range l.Stacks {
		for _, after := range u.After {
			if o := l.of[after]; o == nil || o.Leg == 0 || o.Leg == l.Leg {
				return fmt.Errorf("%s comes after %s, and it does not say whose that is", u.Stack, after)
			}
		}
	}
	return nil
}

// at reports whether the leg was made for the commit that is checked out.
func (l *Leg) at(head gitstate.Commit) error {
	if l == nil || l.Commit == head.Hash {
		return nil
	}
	return fmt.Errorf("%s was made for the commit %s, and %s is checked out; `git checkout --detach %s` goes there", l.File, note.Short(l.Commit), note.Short(head.Hash), l.Commit)
}

// narrow takes off what the environment says of the selection, that the matrix has
// followed already.
func (l *Leg) narrow(req *Request) {
	if l != nil {
		req.Select, req.Filter = project.Selection{Target: l.Target}, query.StatusFilter{}
	}
}

// pick keeps the leg's stacks, all of which have to be there.
func (l *Leg) pick(selected []project.Selected) ([]project.Selected, error) {
	if l == nil {
		return selected, nil
	}
	there := map[string]string{}
	for _, s := range selected {
		there[s.Path] = s.ID
	}
	for _, u := range l.Stacks {
		if id, ok := there[u.Stack]; !ok || !strings.EqualFold(id, u.ID) {
			return nil, fmt.Errorf("%s has the stack %s, and it is not here; run the leg where the matrix was made: in the same commit and folder", l.File, u.Stack)
		}
	}
	return slices.DeleteFunc(selected, func(s project.Selected) bool {
		u := l.of[s.Path]
		return u == nil || u.Leg != 0
	}), nil
}

// same reports whether the command is the one that the matrix announced.
func (l *Leg) same(n *Session, stacks []runner.Stack) error {
	if l == nil || l.Aside {
		return nil
	}
	for _, s := range stacks {
		u, r := l.of[s.Path], n.Stacks[s.Path]
		switch {
		case r.Op.Name != u.Op || r.Op.Words != u.Variant:
			return fmt.Errorf("%s was made for another command line, a %s of %s, and this is a %s; give matrix and run the same command, --op and TF_CLI_ARGS*", l.File, u.Op, s.Path, r.Op.Name)
		case r.Op.Workspace != u.Space:
			return fmt.Errorf("%s was made with another workspace for %s; give matrix and run the same TF_WORKSPACE", l.File, s.Path)
		}
	}
	if len(stacks) < len(l.Stacks) {
		return fmt.Errorf("%s lists stacks in which this command has nothing to run; give matrix and run the same command", l.File)
	}
	return nil
}

// moved withdraws what the matrix announced for stacks of the leg that are deployed to
// another place than it assumed.
func (l *Leg) moved(st *gitstate.State, n *Session) error {
	if l == nil || l.Aside {
		return nil
	}
	for _, u := range l.Stacks {
		r := n.Planned(u.Stack)
		if r.Target == u.Target {
			continue
		}
		was, err := st.Latest(note.Slot{ID: u.ID, Path: u.Stack, Target: u.Target, Op: u.Op})
		if err != nil {
			return err
		}
		if was.Run == n.RunID && was.Record.Status == note.Queued {
			if err := n.Writer.Withdraw(n.Commit.Hash, &was.Record, note.Record{By: n.by, Reason: "it is deployed elsewhere: " + r.describe()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ErrWavesInLegs is of waves where a run is divided into legs.
var ErrWavesInLegs = errors.New("waves are for one run that has all of its stacks; with legs, make a matrix for each wave, as in: tmnotes matrix --tags canary")
