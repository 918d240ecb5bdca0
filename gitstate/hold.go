package gitstate

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	who, _, _ := strings.Cut(h.By, " <")
	text := "held by " + cmp.Or(who, "somebody") + ": " + h.Reason
	if until := h.Until(); !until.IsZero() {
		text += " (until " + until.Format("2006-01-02 15:04") + " UTC)"
	}
	return text
}

// Holds are all holds that last now, by this machine's clock, sorted by stack.
func (st *State) Holds() []Hold {
	st.holdsOnce.Do(func() {
		now := st.s.now()
		for k, s := range st.x.slots {
			if note.Op(k.group).Holds() {
				st.holds = append(st.holds, lasting(s.heads, now)...)
			}
		}
		slices.SortFunc(st.holds, func(a, b Hold) int {
			return cmp.Or(strings.Compare(a.Op, b.Op), strings.Compare(a.Stack, b.Stack), strings.Compare(a.Target, b.Target), strings.Compare(a.ID, b.ID))
		})
	})
	return st.holds
}

// lasting is the hold of a slot, of several the one that lasts longest; none where nobody holds.
func lasting(heads []Stored, now time.Time) []Hold {
	var found []Hold
	var runs []string
	for _, h := range heads {
		runs = append(runs, h.Run)
		until := h.Until()
		if h.Record.Status != note.Held || !until.IsZero() && !until.After(now) {
			continue
		}
		if len(found) == 0 || !found[0].Until().IsZero() && (until.IsZero() || until.After(found[0].Until())) {
			found = []Hold{{Stored: h}}
		}
	}
	if len(found) > 0 {
		slices.Sort(runs)
		found[0].runs = slices.Compact(runs)
	}
	return found
}

// Hold finds what holds a stack for a target and its workspaces. It is looked for by id and by path: code from before the
// stack had its id is held as well.
func (st *State) Hold(of note.Slot) (Hold, bool) {
	base, _, _ := strings.Cut(of.Target, "+")
	id := strings.ToLower(of.ID)
	for _, h := range st.Holds() {
		if h.Target != "" && h.Target != base && h.Target != of.Target {
			continue
		}
		if h.All() || h.Stack == of.Path || id != "" && strings.ToLower(h.ID) == id {
			return h, true
		}
	}
	return Hold{}, false
}
