package gitstate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Whose the commits are that are written here, and what their messages say: a server
// may look at both.

// identity is what is asked of git once.
type identity struct {
	sync.Mutex
	user   string  // "Name <mail>"
	signer *signer // nil: not asked for yet, or nothing is signed
}

// unknownUser is who records on a machine without a configured user.
const unknownUser = "tmnotes <tmnotes@localhost>"

// splitUser reads "Name <mail>".
func splitUser(user string) (name, mail string, ok bool) {
	end := strings.LastIndex(user, ">")
	if end < 0 {
		return "", "", false
	}
	name, mail, ok = strings.Cut(user[:end], " <")
	return name, mail, ok && name != ""
}

// checkIdentity reads tmnotes.committer and tmnotes.message.
func (s *Store) checkIdentity() error {
	if _, err := s.Signs(); err != nil {
		return err
	}
	committer := s.Config("committer")
	if committer == "" {
		return nil
	}
	name, mail, ok := splitUser(committer)
	if !ok || mail == "" || strings.ContainsAny(name+mail, "<>\n") || strings.ContainsAny(mail, " \t") || !strings.HasSuffix(committer, ">") {
		return fmt.Errorf("%s: %q is not of the form Name <mail@host>", s.ConfigName("committer"), committer)
	}
	return nil
}

// gitUser is who git says we are, "" if it does not know.
func (s *Store) gitUser(ctx context.Context) string {
	s.identity.Lock()
	defer s.identity.Unlock()
	if s.identity.user == "" {
		out, err := s.repo.Git(ctx, nil, "var", "GIT_COMMITTER_IDENT")
		if name, mail, ok := splitUser(out); err == nil && ok {
			s.identity.user = name + " <" + mail + ">"
		}
	}
	return s.identity.user
}

// signature is whose commits are that are made now: tmnotes.committer's, or the user's.
func (s *Store) signature(ctx context.Context) object.Signature {
	user := s.Config("committer")
	if user == "" {
		user = cmp.Or(s.gitUser(ctx), unknownUser)
	}
	name, mail, _ := splitUser(user)
	return object.Signature{Name: name, Email: mail, When: s.now()}
}

// Who is the user as git knows them, "Name <mail>".
func (s *Store) Who(ctx context.Context) string {
	return cmp.Or(s.gitUser(ctx), s.Config("committer"), unknownUser)
}

// message is what a commit says: its subject in the words of tmnotes.message, in which
// %s stands for it (else it comes behind), and then the body, if there is any.
func (s *Store) message(subject, body string) string {
	template := s.Config("message")
	switch {
	case strings.Contains(template, "%s"):
		subject = strings.ReplaceAll(template, "%s", subject)
	case template != "":
		subject = template + " " + subject
	}
	// Trailers of the template stay at the end, where git looks for them.
	first, rest, more := strings.Cut(strings.TrimRight(subject, "\n"), "\n\n")
	text := first + "\n"
	if body != "" {
		text += "\n" + strings.TrimSuffix(body, "\n") + "\n"
	}
	if more {
		text += "\n" + rest + "\n"
	}
	return text
}

// newCommit adds a commit to what is about to be written: the user's, and signed,
// if they sign.
func (s *Store) newCommit(ctx context.Context, w *git.ObjectWriter, message string, tree plumbing.Hash, parents ...plumbing.Hash) (plumbing.Hash, error) {
	who := s.signature(ctx)
	c := &object.Commit{Author: who, Committer: who, Message: message, TreeHash: tree, ParentHashes: parents}
	if err := s.seal(ctx, c); err != nil {
		return plumbing.ZeroHash, err
	}
	return w.PutCommit(c)
}

// madeBy reports whether a commit is one that this process would make itself, on the
// parents, with the message. What another program made may lack the signature, say.
func (s *Store) madeBy(ctx context.Context, commit plumbing.Hash, message string, parents []plumbing.Hash) (bool, error) {
	c, err := s.repo.Commit(commit.String())
	if err != nil {
		return false, err
	}
	signs, err := s.Signs()
	who := s.signature(ctx)
	return slices.Equal(c.ParentHashes, parents) && c.Message == message && c.Committer.Name == who.Name && c.Committer.Email == who.Email &&
		signs == (c.PGPSignature != ""), err
}

// spoolCommit is the commit for a ref of this clone's own: where a server may look at
// every commit, one on top of what the remote has, since others may be foreign.
func (s *Store) spoolCommit(ctx context.Context, remote string) (plumbing.Hash, error) {
	local, tree, err := s.tip(s.ref)
	if err != nil {
		return local, err
	}
	if signs, err := s.Signs(); err != nil || !signs {
		return local, err
	}
	theirs, theirTree, err := s.tip(s.tracking(remote))
	if err != nil || theirs.IsZero() {
		return local, err
	}
	return s.squash(ctx, local, tree, theirTree, theirs)
}
