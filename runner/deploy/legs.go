package deploy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// AnnounceLegs has a run on record that others execute in legs: its head, and every stack as
// queued, with its leg, as of says by path. It is overtaken where a pipeline of another commit
// announced itself since the stacks were selected.
func (x *Plan) AnnounceLegs(ctx context.Context, legs int, of map[string]int) (overtaken bool, err error) {
	on := context.WithoutCancel(ctx)
	if len(x.Todo)+len(x.heldBack) == 0 {
		return x.LookedAt(on)
	}
	x.legs = of
	head := x.head(on, strings.Join(x.Ops, ","), x.Select.Target, len(x.Todo)+len(x.heldBack), x.Command)
	head.SetLegs(legs)
	if err := x.declare(ctx, x.Route.Remote, head, x.Todo); err != nil {
		return false, err
	}
	if len(x.Todo) == 0 {
		return false, x.endHeldBack(on)
	}
	if err := x.Store.Flush(on); err != nil || x.Route.Remote == "" || !x.reselect {
		return false, err
	}
	st, err := x.Store.State(on)
	if err != nil {
		return false, err
	}
	heads, err := st.Began(x.Basis)
	return x.overtaken(heads, x.Select.Target), err
}

// endHeldBack ends a run of which everything is held.
func (x *Plan) endHeldBack(ctx context.Context) error {
	if err := errors.Join(x.finish(count(x.heldBack)), x.Store.Flush(ctx)); err != nil || x.Route.Remote == "" {
		return err
	}
	_, err := x.Store.Remote(x.Route.Remote).Push(ctx)
	return err
}

// TakeBack withdraws what was announced, as nobody is going to run it.
func (x *Plan) TakeBack(ctx context.Context, why string) error {
	if len(x.Todo) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := errors.Join(x.withdraw(x.Todo, why), x.Store.Flush(ctx)); err != nil || x.Route.Remote == "" {
		return err
	}
	_, err := x.Store.Remote(x.Route.Remote).Push(ctx)
	return err
}

// LegStack is a stack as the file of a leg has it.
func (x *Plan) LegStack(path string) LegStack {
	r := x.Stacks[path]
	return LegStack{Stack: path, ID: r.Stack.ID, Op: r.Op.Name, Target: r.Target, Variant: r.Op.Words, Space: r.Op.Workspace}
}

// Durations are how long the stacks that are to run took when they succeeded last, by
// path. Of which that is not known, it is the median of the others, or a second.
func (x *Plan) Durations() (map[string]time.Duration, int, error) {
	latest := map[string]gitstate.Latest{}
	for _, path := range x.Todo {
		var err error
		if latest[path], err = x.latest(x.State, path); err != nil {
			return nil, 0, err
		}
	}
	return Durations(x.Store, latest, func(path string) (op, target string) { return x.Stacks[path].Op.Name, x.Stacks[path].Target })
}

// Durations are how long stacks took when they succeeded last, by path, as [Plan.Durations] has it. latest
// are their results, of what as says.
func Durations(s *gitstate.Store, latest map[string]gitstate.Latest, as func(path string) (op, target string)) (map[string]time.Duration, int, error) {
	took := map[string]time.Duration{}
	type when struct {
		at       int64
		stack    string
		op, tget string
	}
	ask := map[string]map[when]string{} // by commit
	for path, l := range latest {
		switch {
		case (l.Status == note.OK || l.Status == note.Drifted) && l.Took > 0:
			took[path] = l.Took
		case l.OKCommit != "":
			if ask[l.OKCommit] == nil {
				ask[l.OKCommit] = map[when]string{}
			}
			op, target := as(path)
			ask[l.OKCommit][when{l.OKAt.UnixMilli(), path, op, target}] = path
		}
	}
	err := s.NotesOf(slices.Sorted(maps.Keys(ask)), func(commit string, lines []gitstate.Line) error {
		for _, line := range lines {
			r := &line.Record
			if r.Status != note.OK || r.Took == 0 {
				continue
			}
			if path, is := ask[commit][when{r.At.UnixMilli(), r.Stack, r.Op, r.Target}]; is {
				took[path] = r.Took
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	usual, known := time.Second, len(took)
	if all := slices.Sorted(maps.Values(took)); known > 0 {
		usual = all[known/2]
	}
	for path := range latest {
		if took[path] == 0 {
			took[path] = usual
		}
	}
	return took, known, nil
}
