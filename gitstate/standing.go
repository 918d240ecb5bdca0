package gitstate

import (
	"cmp"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// StackStatus is a stack's own status for a target: what its deployments and
// its drift runs say together.
//
// After a deployment that failed, was canceled, blocked or interrupted it is that,
// until a deployment succeeds or a drift run comes out clean; Drifted after a drift
// run that found changes, until a clean one or a deployment that succeeds (one that
// failed, or is under way, tells nothing); Running
// while a deployment is under way; else OK. Neither a trigger changes it, which says
// that something is to be done and not that something is wrong, nor a run that
// did not come to start the stack where it is deployed (see Standing).
func StackStatus(deploy, drift Latest) note.Status {
	if deploy.Status != note.Triggered {
		deploy.Status, deploy.At = deploy.Standing()
	}
	return Attempted(deploy, drift)
}

// Attempted is StackStatus, but of a stack that a run did not come to start it is what
// that run came to, wherever it is deployed: by this one tells what to try again.
func Attempted(deploy, drift Latest) note.Status {
	for _, l := range []*Latest{&deploy, &drift} {
		if l.Status != note.Triggered {
			continue
		}
		if l.Status, l.At = l.Standing(); l.Status.Open() {
			l.Status = note.Interrupted // what came of it is not known any more
		}
	}
	driftLater := drift.Status != note.Never && (deploy.Status == note.Never || drift.At.After(deploy.At))
	switch deploy.Status {
	case note.Failed, note.Canceled, note.Blocked, note.Interrupted:
		if driftLater && drift.Status == note.OK {
			return note.OK
		}
		return deploy.Status
	case note.Queued, note.Running:
		return note.Running
	case note.OK:
		if driftLater && drift.Status == note.Drifted || drift.endedAt > max(deploy.At.UnixMilli(), 0) {
			return note.Drifted
		}
		return note.OK
	}
	switch {
	case drift.Status == note.Drifted || drift.endedAt > 0:
		return note.Drifted
	case drift.Status == note.OK:
		return note.OK
	}
	if deploy.Status != note.Never {
		return deploy.Status
	}
	return note.Never
}

// Standing is the status, and when it was recorded, that stands once nothing is
// changed by what was recorded last: by a trigger, or by a run that blocked or canceled
// the stack, before it was started, on the commit on which it is deployed. What it was
// before stands in such records.
func (l *Latest) Standing() (note.Status, time.Time) {
	switch {
	case l.Status == note.Triggered:
		return cmp.Or(l.Had, note.Never), l.Was
	case (l.Status == note.Blocked || l.Status == note.Canceled) && l.Had == note.OK:
		return note.OK, l.Was
	}
	return l.Status, l.At
}

// Untouched says in the record of a run that did not come to start a stack that the
// stack is as it was, if it is deployed on the same commit: l is its latest record before.
func (l *Latest) Untouched(rec *note.Record, commit string) {
	standing, at := l.Standing()
	if standing == note.OK && rec.Op == note.Deploy && l.Op == note.Deploy && l.Commit == commit && !l.Dirty && !l.copied && len(l.Diverged) == 0 {
		rec.Had, rec.Was = standing, at
	}
}

// After is what StackStatus says once a record follows what deploy and drift are
// the latest of. A record of another operation changes nothing.
func After(deploy, drift Latest, r *note.Record) note.Status {
	now := Latest{Stored: Stored{Record: *r}, Status: r.Status}
	switch note.GroupOf(r.Op) {
	case note.Deploy:
		deploy = now
	case note.Drift:
		if r.Status != note.OK {
			now.endedAt = drift.endedAt
		}
		drift = now
	}
	return StackStatus(deploy, drift)
}
