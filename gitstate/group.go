package gitstate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Group is what the processes share that one parent started: `terramate run --
// tmnotes exec` starts one for each stack, and together they are one run.
type Group struct {
	Run string // ULID of the run
	dir string
	say func(string)
}

// groupAge is after how long a group is another one, although its parent has
// the same name: process numbers are given out again.
const groupAge = 24 * time.Hour

// Group joins the group of a parent process, or founds it. parent names the
// process so that no other one has that name while it lives.
func (s *Store) Group(ctx context.Context, parent string) (*Group, error) {
	if s.readOnly != nil {
		return nil, s.readOnly
	}
	all := filepath.Join(s.private, "groups")
	g := &Group{say: s.warn, dir: filepath.Join(all, fileName(parent))}
	if err := os.MkdirAll(g.dir, 0o777); err != nil {
		return nil, err
	}
	unlock, err := git.Lock(ctx, filepath.Join(g.dir, "lock"), s.warn)
	if err != nil {
		return nil, err
	}
	defer unlock()
	file := filepath.Join(g.dir, "run")
	info, err := os.Stat(file)
	if err == nil && time.Since(info.ModTime()) < groupAge {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if g.Run = strings.TrimSpace(string(b)); note.IsToken(g.Run) {
			return g, nil
		}
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// A new group: the old ones are swept out, and what one of the same name did.
	list, _ := os.ReadDir(all)
	for _, d := range list {
		old := filepath.Join(all, d.Name())
		if info, err := os.Stat(filepath.Join(old, "run")); err == nil && time.Since(info.ModTime()) >= groupAge && old != g.dir {
			os.RemoveAll(old)
		}
	}
	marks, _ := filepath.Glob(filepath.Join(g.dir, "once-*"))
	for _, m := range marks {
		os.Remove(m)
	}
	g.Run = s.NewRun()
	return g, os.WriteFile(file, []byte(g.Run+"\n"), 0o666)
}

// Renew makes the group's run another one, unless a process of the group has done so
// since it was run: a run id is one attempt, and a shell that runs the same thing twice
// makes two.
func (g *Group) Renew(ctx context.Context, run string, newRun func() string) error {
	unlock, err := git.Lock(ctx, filepath.Join(g.dir, "lock"), g.say)
	if err != nil {
		return err
	}
	defer unlock()
	file := filepath.Join(g.dir, "run")
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if now := strings.TrimSpace(string(b)); note.IsToken(now) && now != run {
		g.Run = now
		return nil
	}
	g.Run = newRun()
	return os.WriteFile(file, []byte(g.Run+"\n"), 0o666)
}

// Once calls f unless a process of the group did so, under the same name, less
// than every ago (0: ever). Who comes meanwhile waits for it. If f fails, the
// next one calls it again.
func (g *Group) Once(ctx context.Context, name string, every time.Duration, f func() error) error {
	mark := filepath.Join(g.dir, "once-"+fileName(name))
	unlock, err := git.Lock(ctx, mark+".lock", g.say)
	if err != nil {
		return err
	}
	defer unlock()
	if info, err := os.Stat(mark); err == nil && (every == 0 || time.Since(info.ModTime()) < every) {
		return nil
	}
	if err := f(); err != nil {
		return err
	}
	// Without the mark the next one does it again.
	if os.WriteFile(mark, nil, 0o666) == nil {
		now := time.Now()
		_ = os.Chtimes(mark, now, now)
	}
	return nil
}

// fileName is a name that is a file's on every system: of a remote, say, which may be called a/b.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
}
