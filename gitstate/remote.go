package gitstate

// Remote is one of the repository's remotes: what notes and claims are fetched from and pushed to.
//
// Where it cannot be reached, refuses what is asked, or does not answer for the network timeout, the
// error of a method is an [ErrRemote], of which [CauseOf] says more. What transient errors
// interrupt has been tried again by then. A push that left records only here wraps [ErrNotPushed] as well;
// claims that the remote does not take are an [ErrClaims]; a read side that does not catch up with what
// is pushed is an [ErrLagging]. Whatever the error: nothing that is recorded is lost.
type Remote struct {
	store *Store
	name  string
}

// Remote is the remote of a name. It is asked nothing yet.
func (s *Store) Remote(name string) Remote { return Remote{s, name} }
