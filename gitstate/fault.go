package gitstate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Cause is why a remote did not do what it was asked to, as far as that is said.
type Cause int

// The causes, each with a next step of its own.
const (
	Unknown     Cause = iota
	Unreachable       // no connection, one that broke, or an error of the server
	Silent            // no answer in time
	NotFound          // there is no such repository, or none for this user
	Denied            // this user may not
	Untrusted         // the server's certificate or host key is not trusted
	NotOwned          // git does not trust the owner of a local repository
	Rejected          // rules or hooks of the server do not take the push
	Unsigned          // they want signed commits
	Identity          // they want another author or committer
	Certificate       // the push cannot be signed
	Lagging           // an ErrLagging
)

// CauseOf finds the cause in an error of a remote method.
func CauseOf(err error) Cause {
	var rejected *rejection
	var silent *git.Silence
	var ge *git.Error
	switch {
	case err == nil:
		return Unknown
	case errors.Is(err, ErrLagging):
		return Lagging
	case errors.As(err, &silent):
		return Silent
	case errors.As(err, &rejected):
		return rejected.cause
	case errors.As(err, &ge):
		cause, _ := classify(ge.Stderr)
		return cause
	}
	return Unknown
}

// NoAnswer is the cause to cancel a context with where a remote was waited for as long as that.
func NoAnswer(after time.Duration) error { return git.NoAnswer(after) }

// rejection is a ref that the server did not take, by what git push --porcelain says.
type rejection struct {
	remote, why string // why as git has it
	said        string // by the server
	cause       Cause
}

func (r *rejection) Error() string {
	text := fmt.Sprintf("%s refused the push: %s", r.remote, r.why)
	if r.said != "" {
		text += "; " + r.said
	}
	return text
}

func (r *rejection) Unwrap() error { return errRefused }

// A line of git's own, from its first character: what a server says comes behind
// "remote: ", and a URL or the name of a host may hold any word. Most are of http.c,
// remote-curl.c, connect.c, send-pack.c, fetch-pack.c, transport.c and ssh(1); "ERROR: " is how
// servers that speak SSH begin theirs.
var faults = sync.OnceValue(func() []fault {
	return []fault{
		// A push that is all or nothing, and that git itself gave up: the other side has hung up since then.
		{regexp.MustCompile(`^error: atomic push failed for ref `), Unknown, false},
		{regexp.MustCompile(`^fatal: the receiving end does not support --signed push`), Certificate, false},
		{regexp.MustCompile(`^(fatal: failed to sign the push certificate|error: gpg failed to sign the data)`), Certificate, false},
		{regexp.MustCompile(`^fatal: detected dubious ownership in repository at `), NotOwned, false},
		{regexp.MustCompile(`^fatal: unable to access '.*': (SSL certificate problem|server certificate verification failed|.*certificate subject name)`), Untrusted, false},
		{regexp.MustCompile(`^Host key verification failed\.`), Untrusted, false},
		{regexp.MustCompile(`^(fatal: unable to access '.*': The requested URL returned error:|error: RPC failed; HTTP) (401|403|407)\b`), Denied, false},
		{regexp.MustCompile(`^(fatal: unable to access '.*': The requested URL returned error:|error: RPC failed; HTTP) (404|410)\b`), NotFound, false},
		{regexp.MustCompile(`^(fatal: unable to access '.*': The requested URL returned error:|error: RPC failed; HTTP) (408|429|5\d\d)\b`), Unreachable, true},
		{regexp.MustCompile(`^(fatal: unable to access '.*': The requested URL returned error:|error: RPC failed; HTTP) \d`), Unknown, false},
		{regexp.MustCompile(`^fatal: (Authentication failed for|could not read (Username|Password) for) '`), Denied, false},
		{regexp.MustCompile(`^[^ ]+: Permission denied \([a-z0-9,-]+\)\.`), Denied, false},
		{regexp.MustCompile(`^ERROR: .*([Pp]ermission|[Aa]ccess).*(denied|granted)`), Denied, false},
		{regexp.MustCompile(`^fatal: remote error: (access denied|service not enabled)`), Denied, false},
		{regexp.MustCompile(`^(fatal: repository '.*' not found|ERROR: Repository not found|fatal: '.*' does not appear to be a git repository)`), NotFound, false},
		{regexp.MustCompile(`^(fatal: unable to access '|error: RPC failed; )`), Unreachable, true},
		{regexp.MustCompile(`^fatal: (early EOF|the remote end hung up|unable to connect to |unable to look up |expected flush after |protocol error|read error|write error|fetch-pack: )`), Unreachable, true},
		{regexp.MustCompile(`^(fetch-pack|send-pack): unexpected disconnect `), Unreachable, true},
		{regexp.MustCompile(`^(ssh: |kex_exchange_identification: |client_loop: |Connection (closed|reset|timed out))`), Unreachable, true},
		{regexp.MustCompile(`^(error|fatal): Could not read from remote repository`), Unreachable, false},
	}
})

type fault struct {
	line  *regexp.Regexp
	cause Cause
	again bool // it may be gone in a moment
}

// classify tells from what git printed why it could not talk to a remote, and whether
// it is worth another try.
func classify(stderr string) (cause Cause, again bool) {
	for _, fault := range faults() { // the first has the say: a connection ends for other reasons, too
		for line := range strings.Lines(stderr) {
			if fault.line.MatchString(line) {
				return fault.cause, fault.again
			}
		}
	}
	return Unknown, false
}

// What hooks and services say of a push whose commits they do not want; each wording
// is that of GitHub, GitLab, Gitea or Bitbucket. Only asked of a push that was rejected.
var (
	wantSigned = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)verified signature|must be signed|(not|un)[ -]?signed|signature (is )?(required|missing)|signed commits`)
	})
	wantIdentity = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)(committer|author)\b.*\b(e-?mail|name|user|not|does)|e-?mail.*\b(committer|author|pattern|registered|verified)`)
	})
)

// pushError is what became of a ref in a push (of all, if ref is empty), by
// what git printed of it.
func pushError(remote, ref, out string, err error) error {
	if err == nil {
		return nil
	}
	var ge *git.Error
	stderr := ""
	if errors.As(err, &ge) {
		stderr = ge.Stderr
	}
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		to := destination(line)
		if ref != "" && to == ref && f[0] != "!" {
			return nil // taken, whatever became of others
		}
		if f[0] != "!" || ref != "" && to != ref {
			continue
		}
		return rejected(remote, f[len(f)-1], stderr, err)
	}
	if ge != nil && (strings.Contains(stderr, "unresolved deltas") || strings.Contains(stderr, "remote unpack failed") || strings.Contains(stderr, "remote ref does not exist")) {
		return fmt.Errorf("%w: %s", errContended, git.LastLines(stderr, ge.Code))
	}
	if cause, _ := classify(stderr); cause == Denied || cause == Certificate {
		return fmt.Errorf("%s %w the push: %w", remote, errRefused, err)
	}
	if ge != nil && ge.Code == 1 && wordless(stderr) {
		// The remote's program ended badly, perhaps after it took the push. Another try, which fetches before, finds
		// out.
		return fmt.Errorf("%w: %w", errContended, err)
	}
	return remoteError("pushing to "+remote, remote, err)
}

// wordless reports whether git says that a push failed, at most, and not why.
func wordless(stderr string) bool {
	for line := range strings.Lines(stderr) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "error: failed to push some refs to ") {
			return false
		}
	}
	return true
}

// rejected sorts what git says of a ref that was not taken.
func rejected(remote, why, stderr string, err error) error {
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(why, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("[remote failure]"): // the connection broke before the answer
		return remoteError("pushing to "+remote, remote, err)
	case !has("[remote rejected]") && has("fetch first", "non-fast-forward"):
		return fmt.Errorf("%w (%s)", errBehind, why)
	case has("stale info", "failed to update ref", "cannot lock ref", "incorrect old value", "reference already exists", "unpacker error",
		"missing necessary objects", "failed to lock", "remote ref updated"):
		return fmt.Errorf("%w: %s", errContended, why)
	}
	r := &rejection{remote: remote, why: why, cause: Rejected}
	var lines []string
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "remote: ") {
			lines = append(lines, line)
		}
	}
	if len(lines) > 0 {
		r.said = git.LastLines(strings.Join(lines, "\n"), 0)
	}
	switch all := strings.Join(lines, "\n"); {
	case wantSigned().MatchString(all):
		r.cause = Unsigned
	case wantIdentity().MatchString(all):
		r.cause = Identity
	}
	return r
}

// remoteError is an ErrRemote that says what happened in the words of its cause.
func remoteError(doing, remote string, err error) error {
	said := err.Error()
	var ge *git.Error
	tried := ""
	if errors.As(err, &ge) {
		said = git.LastLines(ge.Stderr, ge.Code)
		if ge.Tries > 1 {
			tried = fmt.Sprintf(" (tried %d times)", ge.Tries)
		}
	}
	text := ""
	switch CauseOf(err) {
	case Unreachable:
		text = fmt.Sprintf("%s cannot be reached%s: %s", remote, tried, said)
	case Silent:
		text = fmt.Sprintf("%s is silent: %s while %s", remote, said, doing)
	case NotFound:
		text = fmt.Sprintf("%s was not found: %s", remote, said)
	case Denied:
		text = fmt.Sprintf("%s denied access: %s", remote, said)
	default:
		text = fmt.Sprintf("%s failed: %s", doing, said)
	}
	return &git.Worded{Text: text, Errs: []error{ErrRemote, err}}
}
