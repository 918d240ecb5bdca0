package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A hold is a person's lock: a record that says who must not be surprised by a deployment, and why.
// Which of a hold and a release is the later one is told by prev, as of deployments; those that
// did not know of each other hold.

// Hold is why a stack must not be deployed.
type Hold struct {
	Stored
	runs []string // whose records who releases it follows
}

// Runs are the runs that a record of the hold's slot would follow now.
func (h *Hold) Runs() []string { return h.runs }

// All reports whether it holds every stack, also those that are yet to come.
func (h *Hold) All() bool { return h.Op == note.HoldAll }

// String completes "STACK is".
func (h *Hold) String() string {
	text := "held by " + cmp.Or(note.NameOf(h.By), "somebody") + ": " + h.Reason
	if until := h.Until(); !until.IsZero() {
		text += " (until " + until.Format("2006-01-02 15:04") + " UTC)"
	}
	return text
}

// Holds are all holds that last now, by this machine's clock, sorted by stack.
func (st *State) Holds() (now []Hold) {
	for _, h := range st.everHeld() {
		if st.lasts(&h) {
			now = append(now, h)
		}
	}
	return now
}

// Hold finds what holds a stack for a target and its workspaces. It is looked for by id and by path: code from before the
// stack had its id is held as well.
func (st *State) Hold(of note.Slot) (Hold, bool) {
	base, _, _ := strings.Cut(of.Target, "+")
	id := strings.ToLower(of.ID)
	for _, h := range st.everHeld() {
		switch {
		case h.Target != "" && h.Target != base && h.Target != of.Target:
		case !h.All() && h.Stack != of.Path && (id == "" || strings.ToLower(h.ID) != id):
		case st.lasts(&h):
			return h, true
		}
	}
	return Hold{}, false
}

func (st *State) lasts(h *Hold) bool {
	until := h.Until()
	return until.IsZero() || until.After(st.s.now())
}

// everHeld are the holds that nobody released, also those whose time is over.
func (st *State) everHeld() []Hold {
	st.holdsOnce.Do(func() {
		for k, s := range st.x.slots {
			if h := longest(s.heads); note.Op(k.group).Holds() && h != nil {
				st.holds = append(st.holds, *h)
			}
		}
		slices.SortFunc(st.holds, func(a, b Hold) int {
			return cmp.Or(strings.Compare(a.Op, b.Op), strings.Compare(a.Stack, b.Stack), strings.Compare(a.Target, b.Target), strings.Compare(a.ID, b.ID))
		})
	})
	return st.holds
}

// longest is the hold of a slot, of several that did not know of each other the one that lasts longest.
func longest(heads []Stored) (h *Hold) {
	var runs []string
	for _, head := range heads {
		runs = append(runs, head.Run)
		until := head.Until()
		if head.Record.Status == note.Held && (h == nil || !h.Until().IsZero() && (until.IsZero() || until.After(h.Until()))) {
			h = &Hold{Stored: head}
		}
	}
	if h != nil {
		slices.Sort(runs)
		h.runs = slices.Compact(runs)
	}
	return h
}

// Fresh is a state in which nothing is missing that others recorded here or that was fetched: last, if there is nothing new.
func (w *Writer) Fresh(ctx context.Context, last *State) (*State, error) {
	seen, err := w.othersWrote()
	if err != nil || last != nil && last.others == seen {
		return last, err
	}
	st, err := w.store.State(ctx)
	if err == nil {
		st.others = seen
	}
	return st, err
}

// othersWrote changes when others record something, and when the notes do.
func (w *Writer) othersWrote() (string, error) {
	ref, err := os.ReadFile(w.store.repo.RefPath(w.store.ref)) // to read what it names takes longer than all of this
	seen := ref
	if err != nil { // it is packed, or there is none
		tip, err := w.store.repo.Resolve(w.store.ref)
		if err != nil {
			return "", err
		}
		seen = []byte(tip.String())
	}
	files, err := os.ReadDir(w.file.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, f := range files {
		if f.Name() == w.file.Name {
			continue
		}
		if info, err := f.Info(); err == nil {
			seen = fmt.Appendf(seen, " %s %d", f.Name(), info.Size())
		}
	}
	return string(seen), nil
}
