package gitstate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Line is a line of a note: a record, or something else that stands there.
type Line struct {
	Commit string
	Text   string
	Record note.Record // the zero value if the line is no record
	Err    error       // why it is none
	// Copied: it was made on another commit, whose note was copied to this one. Nothing
	// is decided by it.
	Copied bool
}

// Note is the note of a commit in normal form, with what the journal has for
// it. A commit without a note has no lines.
func (s *Store) Note(commit string) (found []Line, err error) {
	err = s.NotesOf([]string{commit}, func(_ string, lines []Line) error {
		found = lines
		return nil
	})
	return found, err
}

// NotesOf hands on the notes of some commits, as Note does that of one.
func (s *Store) NotesOf(commits []string, fn func(commit string, lines []Line) error) error {
	return s.notes(func(t noteReader, over map[string][]string) error {
		for _, commit := range commits {
			lines, err := s.noteLines(t, over, commit)
			if err != nil {
				return err
			}
			if err := fn(commit, parseLines(commit, lines)); err != nil {
				return err
			}
		}
		return nil
	})
}

func parseLines(commit string, lines []string) []Line {
	out := make([]Line, len(lines))
	is := historyOf(commit, lines)
	for i, l := range lines {
		l = strings.Clone(l) // who keeps a record must not keep the whole note
		r, err := note.ParseRecord(l)
		out[i] = Line{commit, l, r, err, is.history(l)}
	}
	return out
}

func madeHere(commit string, lines []string) []Line {
	return slices.DeleteFunc(parseLines(commit, lines), func(l Line) bool { return l.Copied })
}

// Notes hands on every note, in no order that means anything, without the lines that
// were copied there from the note of another commit.
func (s *Store) Notes(fn func(commit string, lines []Line) error) error {
	return s.notes(func(t noteReader, over map[string][]string) error {
		return s.eachOver(t, over, func(commit string, lines []string) error { return fn(commit, madeHere(commit, lines)) })
	})
}

// RecordsOf hands on of each note the records of some stacks, by their paths or ids (in lower case),
// and of a note that has any the heads of runs, too. It reads all notes, and parses few lines.
func (s *Store) RecordsOf(paths, ids map[string]bool, fn func(commit string, records []note.Record) error) error {
	names := func(line, key string, of map[string]bool) bool {
		_, value, has := strings.Cut(line, key)
		value, _, _ = strings.Cut(value, " ")
		return has && (of[value] || strings.HasPrefix(value, `"`))
	}
	return s.notes(func(t noteReader, over map[string][]string) error {
		return s.eachOver(t, over, func(commit string, lines []string) error {
			mine := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
				return !names(line, " stack=", paths) && !names(line, " id=", ids)
			})
			if len(mine) == 0 {
				return nil
			}
			is := historyOf(commit, lines)
			mine = append(mine, slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !isRunEvent(line) })...)
			var found []note.Record
			for _, line := range mine {
				if r, err := note.ParseRecord(strings.Clone(line)); err == nil && !is.history(line) {
					found = append(found, r)
				}
			}
			return fn(commit, found)
		})
	})
}

// notes opens the tip, and what the journal changes of it.
func (s *Store) notes(fn func(t noteReader, over map[string][]string) error) error {
	t, _, changes, err := s.current(context.Background())
	if err != nil {
		return err
	}
	over := map[string][]string{}
	for _, c := range changes {
		over[c.Commit] = c.New
	}
	return fn(t, over)
}

// Forget removes the lines of a commit's note that pick chooses, for good: a
// tombstone with the reason takes their place, and merging honours it in every
// clone. Tombstones stay. It returns what it removed.
func (w *Writer) Forget(ctx context.Context, commit string, by note.Record, pick func(Line) bool) ([]Line, error) {
	s := w.store
	lines, err := s.Note(commit)
	if err != nil {
		return nil, err
	}
	var gone []Line
	var stones []*note.Record
	for _, l := range lines {
		if l.Record.Event == note.Forgotten || !pick(l) {
			continue
		}
		by.At = s.now().UTC()
		t := note.Tombstone(l.Text, by)
		t.Reason = s.redactor.Text(t.Reason, 500)
		gone, stones = append(gone, l), append(stones, &t)
	}
	if len(stones) == 0 {
		return nil, nil
	}
	if err := w.bury(ctx, commit, gone, stones); err != nil {
		return nil, err
	}
	for _, l := range gone {
		if l.Record.Status != "" {
			if err := s.forgetTexts(&l.Record); err != nil {
				s.warn(fmt.Sprintf("the texts kept for the record (such as a plan) were not removed: %v", err))
			}
		}
	}
	return gone, s.Flush(ctx)
}

// bury records tombstones where the lines stand that they remove.
func (w *Writer) bury(ctx context.Context, commit string, gone []Line, stones []*note.Record) error {
	entries, err := w.entries(commit, stones)
	if err != nil {
		return err
	}
	s := w.store
	here, there := map[string]bool{}, map[string]bool{}
	if s.hasLocal() {
		if here, err = s.lines(ctx, s.local(), commit); err != nil {
			return err
		}
		if there, err = s.lines(ctx, s.shared(), commit); err != nil {
			return err
		}
	}
	var local, shared []journal.Entry
	for i, l := range gone {
		if here[l.Text] {
			local = append(local, entries[i])
		}
		if there[l.Text] || !here[l.Text] {
			shared = append(shared, entries[i])
		}
		w.toSign(entries[i:i+1], stones[i:i+1], here[l.Text] && !there[l.Text])
	}
	if len(shared) > 0 {
		err = w.file.Append(shared, true)
	}
	if len(local) > 0 {
		err = errors.Join(err, w.appendLocal(local, true))
	}
	return err
}

// Problem is something in the notes that a person should look at.
type Problem struct {
	Commit string `json:"commit,omitempty"`
	What   string `json:"what"`
	Do     string `json:"do,omitempty"` // what to do about it
	Fatal  bool   `json:"fatal"`        // deciding commands refuse to work until it is mended
}

// Check reads everything and names what is wrong: notes that cannot be read,
// lines that are no records, times from the future, damage in the journal, an
// index that does not say what the notes say.
func (s *Store) Check(ctx context.Context) ([]Problem, error) {
	parts := []part{s.shared()}
	if s.hasLocal() {
		parts = append(parts, s.local())
	}
	var found []Problem
	var commits []string
	var of [2]plumbing.Hash
	for i, p := range parts {
		annotated, problems := s.checkPart(p, &of[i])
		found = append(found, problems...)
		if annotated == nil && len(problems) > 0 && problems[len(problems)-1].Fatal {
			return found, nil
		}
		commits = append(commits, annotated...)
	}
	slices.Sort(commits)
	missing, err := s.absent(ctx, slices.Compact(commits))
	if err != nil {
		return found, err
	}
	if len(missing) > 0 {
		p := Problem{What: fmt.Sprintf("%d annotated commits are not in this repository", len(missing)), Commit: missing[0]}
		if s.repo.Shallow {
			p.Do = "the clone is shallow: nothing to do"
		} else {
			p.Do = "they were rebased away, or not fetched; their notes count all the same"
		}
		found = append(found, p)
	}
	strange, err := s.strangeRefs(ctx)
	if found = append(found, strange...); err != nil {
		return found, err
	}
	for _, p := range parts {
		files, err := p.journal.Files()
		if err != nil {
			return found, err
		}
		for i := range files {
			if err := p.journal.Read(&files[i], nil); err != nil {
				return found, err
			}
			if n := files[i].Damaged; n > 0 {
				found = append(found, Problem{What: fmt.Sprintf("%d damaged lines in the journal %s", n, filepath.Join(p.journal.Dir, files[i].Name)), Do: "they were cut off by a crash before they were acknowledged; delete the file once `tmnotes sync` has run"})
			}
		}
	}
	if slices.ContainsFunc(found, func(p Problem) bool { return p.Fatal }) {
		return found, nil
	}
	return s.checkIndex(ctx, trees{of[0], of[1]}, found)
}

// checkPart reads the notes of one ref, and says which commits they are on.
func (s *Store) checkPart(p part, tree *plumbing.Hash) (commits []string, found []Problem) {
	var err error
	if _, *tree, err = s.tip(p.ref); err != nil {
		return nil, []Problem{{What: err.Error(), Do: "git fsck; restore the ref from `git reflog show " + p.ref + "` or from the remote", Fatal: true}}
	}
	t, err := s.openTree(*tree)
	if err != nil {
		return nil, []Problem{{What: err.Error(), Fatal: true}}
	}
	err = t.Each(func(commit plumbing.Hash, blobs []plumbing.Hash) error {
		c := commit.String()
		commits = append(commits, c)
		if len(blobs) > 1 {
			found = append(found, Problem{Commit: c, What: fmt.Sprintf("%d notes for one commit, read as one", len(blobs))})
		}
		for _, b := range blobs {
			body, err := s.repo.Read(b, plumbing.BlobObject)
			if err != nil {
				found = append(found, Problem{c, err.Error(), "git fsck; fetch the notes again from the remote", true})
				continue
			}
			found = append(found, s.checkNote(c, string(body))...)
		}
		return nil
	})
	if err != nil {
		return nil, append(found, Problem{What: err.Error(), Do: "git fsck", Fatal: true})
	}
	return commits, found
}

func (s *Store) checkNote(commit, text string) (found []Problem) {
	copied := 0
	for _, l := range parseLines(commit, note.AppendLines(nil, text)) {
		if l.Copied {
			copied++
		}
		switch {
		case l.Err != nil:
			found = append(found, Problem{Commit: commit, What: fmt.Sprintf("not a record (%v): %s", l.Err, shorten(l.Text)), Do: "tmnotes keeps and ignores it; tmnotes forget " + note.Short(commit) + " --reason TEXT --line " + note.Digest(l.Text) + " removes it"})
		case l.Record.At.After(s.now().Add(maxSkew)):
			found = append(found, Problem{Commit: commit, What: fmt.Sprintf("a record from the future: %s", shorten(l.Text)), Do: "look at the clock of the machine that ran " + l.Record.Run})
		}
	}
	if copied > 0 {
		found = append(found, Problem{Commit: commit, What: fmt.Sprintf("%d lines were made on another commit and copied to this note (git notes copy, notes.rewriteRef): they count as history", copied),
			Do: "nothing is decided by them; git config --unset notes.rewriteRef keeps git from copying more"})
	}
	return found
}

func (s *Store) checkIndex(ctx context.Context, of trees, found []Problem) ([]Problem, error) {
	by, err := s.trusted(ctx)
	if err != nil {
		return found, err
	}
	saved, err := loadIndex(s.indexPath(), by)
	if err != nil || saved.tree != of {
		return found, nil
	}
	t, err := s.openBoth(of)
	if err != nil {
		return found, err
	}
	fresh, err := s.rebuild(t, of, nil, by)
	if err != nil {
		return found, err
	}
	if why := saved.differs(fresh); why != "" {
		found = append(found, Problem{What: "the index does not say what the notes say: " + why, Do: "delete " + s.indexPath(), Fatal: true})
	}
	return found, nil
}

func shorten(line string) string {
	return fmt.Sprintf("%q", new(note.Redactor).Text(line, 120))
}

// absent are those of the commits that are not in the repository. Those that a partial clone
// lacks git asks the remote for, which is waited for as long as for any answer.
func (s *Store) absent(ctx context.Context, commits []string) ([]string, error) {
	if len(commits) == 0 {
		return nil, nil
	}
	ctx, cancel := s.bounded(ctx, 0)
	defer cancel()
	out, err := s.repo.Git(ctx, strings.NewReader(strings.Join(commits, "\n")+"\n"), "cat-file", "--batch-check=%(objecttype)")
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: looking for the commits that notes are on: %w", ErrRemote, err)
	}
	if err != nil {
		return nil, err
	}
	var missing []string
	for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if i < len(commits) && line != "commit" {
			missing = append(missing, commits[i])
		}
	}
	return missing, nil
}

// differs says where two indexes do not agree on what is the latest.
func (x *index) differs(y *index) string {
	for k, b := range y.slots {
		a := x.slots[k]
		if a == nil {
			return fmt.Sprintf("nothing of %s", k.ident)
		}
		lines := func(s *slot) (l []string) {
			for _, h := range s.heads {
				l = append(l, h.Commit+" "+h.line)
			}
			slices.Sort(l)
			return l
		}
		if !slices.Equal(lines(a), lines(b)) {
			return fmt.Sprintf("another latest of %s", k.ident)
		}
		if a.okRun != b.okRun || a.okCommit != b.okCommit || a.okAt != b.okAt || a.okDirty != b.okDirty || a.endedAt != b.endedAt || a.last != b.last {
			return fmt.Sprintf("another success of %s", k.ident)
		}
		if !containsAll(a.paths, b.paths) {
			return fmt.Sprintf("other paths of %s", k.ident)
		}
		if !slices.Equal(a.followed, b.followed) {
			return fmt.Sprintf("other records before the first of %s", k.ident)
		}
	}
	if len(x.slots) != len(y.slots) {
		return "more stacks"
	}
	for k, b := range y.runs {
		if a := x.runs[k]; !reflect.DeepEqual(a, b) {
			return "another head or end of run " + k.run
		}
	}
	if len(x.runs) != len(y.runs) {
		return "other runs"
	}
	return ""
}
