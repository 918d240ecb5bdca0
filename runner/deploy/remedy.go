package deploy

import (
	"fmt"

	"github.com/tmnotes/tmnotes/gitstate"
)

// Remedy is what to do about an error of a remote, "" where the error says it.
func Remedy(err error, remote, ref string, ci CI) string {
	switch gitstate.CauseOf(err) {
	case gitstate.Unreachable, gitstate.Silent:
		return fmt.Sprintf("try again when `git ls-remote %s` works", remote)
	case gitstate.NotFound:
		return "check its URL with `git remote -v`, and that this user may see it"
	case gitstate.Untrusted:
		return "git trusts the server's certificate or host key once it is in its CA file or in known_hosts"
	case gitstate.NotOwned:
		return "git config --global --add safe.directory DIR trusts a repository of another user"
	case gitstate.Denied:
		switch {
		case ci.Name != "" && remote != "origin": // a ledger
			return "the job's own token is for its own repository; give git a key or token for " + remote
		case ci.Name == "github":
			return "permissions: contents: write in the job"
		case ci.Name == "gitlab":
			return "Settings, CI/CD, Job token permissions: allow Git push requests; or a token with write_repository"
		}
		return "it takes permission to push " + ref + "*"
	case gitstate.Rejected:
		return fmt.Sprintf("the rules and hooks of %s must let this user push %s*", remote, ref)
	case gitstate.Unsigned:
		return "git config tmnotes.sign true signs the notes"
	case gitstate.Identity:
		return "git config tmnotes.committer 'NAME <MAIL>' says who commits the notes"
	case gitstate.Certificate:
		return "git config push.gpgSign if-asked, or give git the key that it signs pushes with"
	case gitstate.Lagging:
		return fmt.Sprintf("try again when they have caught up, or fetch from where you push (git remote set-url %s URL)", remote)
	}
	return ""
}

// NotAnnounced is the error of a deployment that could not be announced.
func NotAnnounced(err error, remote, ref string, ci CI) error {
	do := Remedy(err, remote, ref, ci)
	if do == "" {
		do = "`tmnotes doctor` looks for what is in the way"
	}
	return fmt.Errorf("%w; nothing was executed: a run must be announced on %s first (%s; or --sync=off, which other jobs do not see)", err, remote, do)
}

// NotPushed is the error of work that was done and whose record is only here.
func NotPushed(s *gitstate.Store, remote string, err error, ci CI) error {
	do := Remedy(err, remote, s.Ref(), ci)
	if do != "" {
		do = " (" + do + ")"
	}
	return &NotPushedError{fmt.Errorf("%w%s; the records are safe in %s and go out with `tmnotes sync`", err, do, s.GitDir())}
}

// NotPushedError is of work that was done and whose record is only here.
type NotPushedError struct{ error }

func (e *NotPushedError) Unwrap() error { return e.error }
