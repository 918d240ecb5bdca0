package gitstate

// After is what StackStatus says once a record follows what deploy and drift are
// the latest of. A record of another operation changes nothing.
func After(deploy, drift Latest, r *Record) Status {
	now := Latest{Stored: Stored{Record: *r}, Status: r.Status}
	switch groupOf(r.Op) {
	case Deploy:
		deploy = now
	case Drift:
		drift = now
	}
	return StackStatus(deploy, drift)
}
