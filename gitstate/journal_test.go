package gitstate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// A journal file to which nothing happened since its lines came into the notes is not opened again; one to which
// something may have is read from its beginning if it is another one.
func TestJournalMerged(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	noError(t, s.Flush(ctx))
	path := filepath.Join(s.file.Dir, s.file.Name)
	data := string(must[[]byte](t)(os.ReadFile(path)))
	info := must[os.FileInfo](t)(os.Stat(path))
	_, tree, err := s.tip(s.ref)
	noError(t, err)
	read := func() int {
		lines, _, err := s.pending(ctx, s.shared(), tree)
		noError(t, err)
		return len(lines)
	}
	id := strings.Fields(data)[1]
	other := strings.Replace(data, id, "0"+strings.Repeat("1", len(id)-1), 1)
	at := func(data string, mod time.Time) {
		t.Helper()
		noError(t, os.WriteFile(path, []byte(data), 0o666))
		noError(t, os.Chtimes(path, mod, mod))
	}
	whole := info.ModTime().Truncate(time.Second)
	for _, c := range []struct {
		name string
		data string
		mod  time.Time
		want int
	}{
		{"untouched", data, info.ModTime(), 0},
		{"written again", data, info.ModTime().Add(time.Millisecond), 0},
		{"another file, as far as can be told the same", other, info.ModTime(), 0},
		{"another file of the same length", other, info.ModTime().Add(time.Millisecond), 1},
		{"its head is damaged", strings.Replace(data, "journal ", "jourmal ", 1), info.ModTime().Add(time.Millisecond), 1},
		{"another file, longer", other + "\n", info.ModTime(), 1},
	} {
		at(c.data, c.mod)
		if n := read(); n != c.want {
			t.Errorf("%s: lines of %d commits, not %d", c.name, n, c.want)
		}
	}
	// A clock without parts of a second tells nothing; nor does a mark of a version that knew no names.
	at(data, whole)
	mark := s.shared().mark
	noError(t, os.WriteFile(mark, fmt.Appendf(nil, "%s %s %d %s %d\n", tree, id, len(data), s.file.Name, whole.UnixNano()), 0o666))
	at(other, whole)
	if read() != 1 {
		t.Error("the time of a whole second was taken for a proof")
	}
	noError(t, os.WriteFile(mark, fmt.Appendf(nil, "%s %s %d\n", tree, id, len(data)), 0o666))
	if read() != 1 {
		t.Error("an old mark of another file")
	}
	at(data, info.ModTime())
	if read() != 0 {
		t.Error("an old mark")
	}
}

func TestJournalDamage(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	for i := range 3 {
		noError(t, s.Append(head, result(note.OK, fmt.Sprint("/", i), "R1")))
	}
	path := filepath.Join(s.file.Dir, s.file.Name)
	data := must[[]byte](t)(os.ReadFile(path))
	lines := strings.SplitAfter(string(data), "\n")
	count := func() (n, damaged int) {
		files := must[[]journal.JournalFile](t)(s.journal.Files())
		for i := range files {
			noError(t, s.journal.Read(&files[i], nil))
			n, damaged = n+len(files[i].Entries), damaged+files[i].Damaged
		}
		return n, damaged
	}
	for name, c := range map[string]struct {
		data       string
		n, damaged int
	}{
		"whole":            {string(data), 3, 0},
		"torn":             {string(data[:len(data)-10]), 2, 0},
		"torn at its head": {string(data[:5]), 0, 0},
		"zeroes at end":    {string(data) + "\x00\x00\x00", 3, 0},
		"a bit flipped":    {lines[0] + lines[1] + strings.Replace(lines[2], "/1", "/9", 1) + lines[3], 2, 1},
		"nothing":          {"", 0, 0},
	} {
		noError(t, os.WriteFile(path, []byte(c.data), 0o666))
		if n, damaged := count(); n != c.n || damaged != c.damaged {
			t.Errorf("%s: %d lines and %d damaged, not %d and %d", name, n, damaged, c.n, c.damaged)
		}
		// Whoever writes next gets a line of its own.
		noError(t, s.Append(head, result(note.OK, "/next", "R1")))
		if n, damaged := count(); n != c.n+1 || damaged != c.damaged {
			t.Errorf("%s, then another: %d lines and %d damaged, not %d and %d", name, n, damaged, c.n+1, c.damaged)
		}
	}
	// An id that is not there any more is no id of the file that took its place.
	noError(t, s.Flush(ctx))
	noError(t, os.Remove(path))
	noError(t, s.Append(head, result(note.OK, "/anew", "R1")))
	noError(t, s.Flush(ctx))
	if show := repo.Git("notes", "--ref=tmnotes", "show", head); !strings.Contains(show, "/anew") {
		t.Error("a journal that was made anew is not read from its start")
	}
}

func TestJournalKilled(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	head := repo.Head()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	acked := map[string]bool{}
	for round := range rounds {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 3 { // all append to one file
			cmd, out := child(t, "append", repo.Dir, head, "shared", "100000")
			stop := 1 + rand.IntN(30)
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := 0; out.Scan(); n++ {
					mu.Lock()
					acked[out.Text()] = true
					mu.Unlock()
					if n == stop || round == 0 && i == 0 && n == 25 { // past its first flush
						cmd.Process.Kill()
					}
				}
			}()
		}
		wg.Wait()
	}
	s := open(t, repo.Dir)
	noError(t, s.Flush(context.Background()))
	show := repo.Git("notes", "--ref=tmnotes", "show", head)
	for stack := range acked {
		if !strings.Contains(show, "stack="+stack+" ") {
			t.Errorf("%s was acknowledged and is lost", stack)
		}
	}
	if len(acked) < rounds {
		t.Errorf("only %d were acknowledged", len(acked))
	}
	checkStore(t, s)
}

// A foreign writer that takes away what is in no journal any more, but was
// seen on the remote.
func TestLocalLossIsMended(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	ctx, head := context.Background(), repo.Head()
	s := open(t, repo.Dir)
	noError(t, s.Append(head, result(note.OK, "/a", "R1")))
	must[Traveled](t)(s.Remote("origin").Push(ctx))
	if files := must[[]journal.JournalFile](t)(s.journal.Files()); len(files) > 0 {
		t.Errorf("the journal still has %v", files)
	}
	repo.Git("notes", "--ref=tmnotes", "add", "-f", "-m", "only this", head)
	if l := must[Latest](t)(must[*State](t)(s.State(ctx)).Latest(note.Slot{ID: "", Path: "/a", Target: "", Op: note.Deploy})); l.Status != note.OK {
		t.Errorf("it is %s to the one who reads", l.Status)
	}
	noError(t, s.Flush(ctx))
	if show := repo.Git("notes", "--ref=tmnotes", "show", head); !strings.Contains(show, "/a") || !strings.Contains(show, "only this") {
		t.Error(show)
	}
}

func TestFailClosed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	setup := func(t *testing.T) (*gittest.Repo, string) {
		repo := gittest.Init(t)
		head := repo.Commit("x", map[string]string{"a": "b"})
		s := open(t, repo.Dir)
		noError(t, s.Append(head, result(note.OK, "/a", "R1")))
		noError(t, s.Flush(ctx))
		noError(t, os.RemoveAll(s.private))
		return repo, head
	}
	object := func(repo *gittest.Repo, rev string) string {
		h := repo.Git("rev-parse", rev)
		return filepath.Join(repo.Dir, ".git/objects", h[:2], h[2:])
	}
	for name, damage := range map[string]func(t *testing.T, repo *gittest.Repo, head string){
		"empty ref": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git", DefaultRef), nil, 0o666))
			noError(t, os.Remove(filepath.Join(repo.Dir, ".git/logs", DefaultRef))) // it is mended where that is there: TestBrokenRef
		},
		"ref to nothing": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git", DefaultRef), []byte(strings.Repeat("12", 20)+"\n"), 0o666))
			noError(t, os.Remove(filepath.Join(repo.Dir, ".git/logs", DefaultRef)))
		},
		"ref to a blob": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git", DefaultRef), []byte(repo.Git("rev-parse", "HEAD:a")+"\n"), 0o666))
		},
		"tree gone": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.Remove(object(repo, DefaultRef+"^{tree}")))
		},
		"tree corrupt": func(t *testing.T, repo *gittest.Repo, head string) {
			p := object(repo, DefaultRef+"^{tree}")
			os.Chmod(p, 0o666)
			noError(t, os.WriteFile(p, []byte("x"), 0o666))
		},
		"blob gone": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.Remove(object(repo, DefaultRef+":"+head)))
		},
		"commit corrupt": func(t *testing.T, repo *gittest.Repo, head string) {
			p := object(repo, DefaultRef)
			os.Chmod(p, 0o666)
			noError(t, os.WriteFile(p, nil, 0o666))
		},
		"tree is no tree": func(t *testing.T, repo *gittest.Repo, head string) { badTree(t, repo) },
		"journal unreadable": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.MkdirAll(filepath.Join(repo.Dir, ".git/tmnotes"), 0o777))
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git/tmnotes/journal"), nil, 0o666))
		},
		"tracking ref broken": func(t *testing.T, repo *gittest.Repo, head string) {
			noError(t, os.MkdirAll(filepath.Join(repo.Dir, ".git/refs/tmnotes/remotes/origin"), 0o777))
			noError(t, os.WriteFile(filepath.Join(repo.Dir, ".git/refs/tmnotes/remotes/origin/tmnotes"), []byte(strings.Repeat("12", 20)+"\n"), 0o666))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, head := setup(t)
			damage(t, repo, head)
			s, err := opened(Options{Dir: repo.Dir})
			if err != nil {
				return
			}
			t.Cleanup(s.Close)
			if st, err := s.State(ctx); err == nil {
				t.Errorf("it is read as a state; empty: %v", st.Empty())
			} else if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %v", err)
			}
			if problems, err := s.Check(ctx); err == nil && len(problems) == 0 && !strings.HasPrefix(name, "journal") && !strings.HasPrefix(name, "tracking") {
				t.Error("check finds nothing")
			}
			if strings.HasPrefix(name, "journal") {
				return
			}
			// Nor may a writer take it for "no notes", and begin anew.
			before, _ := os.ReadFile(filepath.Join(repo.Dir, ".git", DefaultRef))
			if err := s.Append(head, result(note.OK, "/b", "R2")); err != nil {
				t.Errorf("what can be acknowledged is not: %v", err)
			}
			if err := s.Flush(ctx); err == nil {
				t.Error("it was written over")
			}
			if after, _ := os.ReadFile(filepath.Join(repo.Dir, ".git", DefaultRef)); string(after) != string(before) {
				t.Errorf("the ref was moved from %q to %q", before, after)
			}
		})
	}
}

func badTree(t *testing.T, repo *gittest.Repo) {
	cmd := repo.Command("hash-object", "-w", "-t", "tree", "--literally", "--stdin")
	cmd.Stdin = strings.NewReader("100644 abc")
	out := must[[]byte](t)(cmd.Output())
	cmd = repo.Command("hash-object", "-w", "-t", "commit", "--literally", "--stdin")
	cmd.Stdin = strings.NewReader("tree " + strings.TrimSpace(string(out)) + "\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n")
	out = must[[]byte](t)(cmd.Output())
	repo.Git("update-ref", DefaultRef, strings.TrimSpace(string(out)))
}
