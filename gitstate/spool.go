package gitstate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"
)

// spoolTries is how often a spool ref is read and pushed again: nobody contends for it
// but who folds it in.
const spoolTries = 4

// pushSpool puts the local notes on a ref that only this clone writes, so that
// nobody contends for it, and whose name a rule for the shared ref may not
// cover. It holds everything, and what stood there was merged into it.
func (s *Store) pushSpool(ctx context.Context, remote string, tr *Traveled) error {
	ref := s.spoolRef()
	for try := range spoolTries {
		tips, err := s.fetchedTips(ctx, remote)
		if try > 0 && err == nil { // what stands there was not known
			tips, err = s.fetch(ctx, remote, notesAndSpool, tr)
		}
		if err != nil {
			return err
		}
		local, err := s.spoolCommit(ctx, remote)
		if err != nil {
			return err
		}
		tr.Tries++
		err = s.push(ctx, remote, spoolLease(ref, tips), local.String()+":"+ref)
		if err == nil {
			s.spooled(ctx, remote, ref, local, tips)
		}
		if !errors.Is(err, errContended) {
			return err
		}
		if err := pause(ctx, backoff(try, 30*time.Millisecond, time.Second)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s", errContended, ref)
}

// spoolLease says what a push of a spool ref is to replace.
func spoolLease(ref string, tips remoteTips) []string {
	expect := ""
	if at := tips.spool[ref]; !at.IsZero() {
		expect = at.String()
	}
	return []string{"--force-with-lease=" + ref + ":" + expect}
}

// spooled takes down where a spool ref of ours stands now. Where that fails, the next
// push finds out.
func (s *Store) spooled(ctx context.Context, remote, ref string, at plumbing.Hash, tips remoteTips) {
	track := s.spoolPrefix(s.tracking(remote)) + strings.TrimPrefix(ref, s.spoolPrefix(s.ref))
	_ = s.repo.SetRef(ctx, track, "tmnotes: push", at, tips.spool[ref])
}

func (s *Store) spoolRef() string { return s.spoolPrefix(s.ref) + s.spoolWriter() }

// OwnSpool gives this process a name of its own among those that spool, where
// it would take its clone's. So jobs that got their clones as copies of one do
// not write over each other's.
func (s *Store) OwnSpool() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoolName = ulid.Make().String()
}

// spoolWriter is this clone's name among those that spool. A copy of the clone finds that the
// name is not its own; where the name cannot be kept, it is this process's.
func (s *Store) spoolWriter() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spoolName != "" {
		return s.spoolName
	}
	s.spoolName = ulid.Make().String()
	where, err := identify(s.private)
	if err != nil {
		return s.spoolName
	}
	path := filepath.Join(s.private, "writer")
	if b, err := os.ReadFile(path); err == nil {
		name, of, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		if id, err := ulid.ParseStrict(name); err == nil && of == where {
			s.spoolName = id.String()
			return s.spoolName
		}
	}
	_ = os.WriteFile(path, []byte(s.spoolName+"\n"+where+"\n"), 0o666)
	return s.spoolName
}

// warnOfSpools names refs among the spool refs that hold no notes. They are passed over.
func (s *Store) warnOfSpools(remote string, refs []string) {
	s.mu.Lock()
	var news []string
	for _, ref := range refs {
		if !slices.Contains(s.named, remote+" "+ref) {
			s.named, news = append(s.named, remote+" "+ref), append(news, ref)
		}
	}
	s.mu.Unlock()
	for _, ref := range news {
		s.warn(badSpool(remote, ref) + fmt.Sprintf("; `git push %s :%s` removes it", remote, ref))
	}
}

func badSpool(remote, ref string) string {
	return fmt.Sprintf("%s on %s is not a commit, and is skipped", ref, remote)
}

// strangeRefs are the refs of remotes, as they were fetched last, that are named like ours
// and are none.
func (s *Store) strangeRefs(ctx context.Context) (found []Problem, err error) {
	for _, remote := range s.repo.Remotes {
		tips, err := s.fetchedTips(ctx, remote)
		if err != nil {
			return found, err
		}
		for _, ref := range tips.bad {
			found = append(found, Problem{What: badSpool(remote, ref), Do: fmt.Sprintf("git push %s :%s", remote, ref)})
		}
		_, bad, err := s.trackedClaims(ctx, remote)
		if err != nil {
			return found, err
		}
		for _, ref := range slices.Sorted(maps.Keys(bad)) {
			found = append(found, Problem{What: fmt.Sprintf("the lock %s on %s cannot be read: %v", ref, remote, bad[ref]), Do: fmt.Sprintf("git push %s :%s", remote, ref)})
		}
	}
	return found, nil
}
