package gitstate

import (
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// After is what StackStatus says once a record follows what deploy and drift are
// the latest of. A record of another operation changes nothing.
func After(deploy, drift Latest, r *note.Record) note.Status {
	now := Latest{Stored: Stored{Record: *r}, Status: r.Status}
	switch note.GroupOf(r.Op) {
	case note.Deploy:
		deploy = now
	case note.Drift:
		drift = now
	}
	return StackStatus(deploy, drift)
}
