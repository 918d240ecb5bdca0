package deploy

import (
	"context"
	"fmt"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
)

// Whether a stack need be run is decided when it is selected, and again where something has
// happened since: when a command finds that it is deployed elsewhere (arrival), and when
// others recorded something before it was claimed (claims). All of them ask [decide].

// Verdict is whether a stack is executed.
type Verdict int

// The verdicts.
const (
	Run  Verdict = iota // it is
	Done                // it need not be
	Late                // it must not be: something newer is deployed
	Kept                // it must not be, nor what it depends on: somebody deploys what was to be destroyed
)

// Decision is a verdict, and why.
type Decision struct {
	Verdict Verdict
	Why     string
}

// WhyAndHow is why a stack is not executed, and where a flag would change that,
// which one.
func (d Decision) WhyAndHow() string {
	if d.Verdict == Late {
		return d.Why + ". --allow-rollback deploys this older one."
	}
	return d.Why
}

// admission is what becomes of a stack that was about to start.
func (d Decision) admission() runner.Admission {
	if d.Verdict == Kept {
		return runner.Admission{Status: runner.StatusBlocked, Reason: d.Why}
	}
	return runner.Admission{Status: runner.StatusSkipped, Reason: d.Why}
}

// Rules are what was asked for, as far as it decides about stacks.
type Rules struct {
	Force    bool // also what is done
	Resume   bool // leave out what succeeded here, whatever the operation is
	Rollback bool // also where something newer is deployed
	InRun    bool // leave out what succeeded in this run, of which this is another try
	Gone     *Gone
}

// facts are what is known of a stack when it is decided about.
type facts struct {
	commit, run string
	// latest is its latest record, at the place where it is to be deployed. Where the place is not
	// known, that is the one where it is not done, if there is one, and others are those of the other places.
	latest gitstate.Latest
	others []gitstate.Latest
	// Of latest and others: what is deployed is of a later commit, or is what a later commit has.
	late     []bool
	stepBack []string // why
	anew     bool     // it is done but for generated code that git ignores
}

// places are latest and others.
func (f *facts) places() []gitstate.Latest { return append([]gitstate.Latest{f.latest}, f.others...) }

// decide says whether a stack need be run. It reads nothing.
func decide(r *Planned, f *facts, rules Rules) Decision {
	deploy := r.Op.Name == note.Deploy
	if over := rules.Gone.over(r, &f.latest); over.Verdict != Run {
		return over
	}
	if deploy || rules.Resume {
		if done, why := f.done(r); done && !rules.Force && !f.anew {
			return Decision{Done, why}
		}
	}
	if deploy && !rules.Rollback {
		// Where the place is not known, what is newer at one of them stays.
		for i, l := range f.places() {
			where := ""
			if i > 0 {
				where = " to " + placeOf(&l.Record) + ", which may be its place (not known before init)"
			}
			if i < len(f.stepBack) && f.stepBack[i] != "" {
				return Decision{Late, f.stepBack[i] + where}
			}
			if i < len(f.late) && f.late[i] {
				return Decision{Late, fmt.Sprintf("a newer commit (%s) is already deployed", note.Short(l.OKCommit)) + where}
			}
		}
	}
	if l := &f.latest; rules.InRun && !r.Dirty && !l.Dirty && l.Run == f.run && l.Commit == f.commit && len(l.Diverged) == 0 &&
		l.Op == r.Op.Name && (l.Status == note.OK || l.Status == note.Drifted) {
		return Decision{Done, fmt.Sprintf("%s in this run already", l.Status)}
	}
	return Decision{}
}

// done reports whether what is asked for is there already, and why. What has uncommitted
// changes is not what was deployed.
func (f *facts) done(r *Planned) (bool, string) {
	done, why := doneAs(&f.latest, f.commit, r)
	return done && !r.Dirty, why
}

// doneAs is Latest.Done for deployments; of any other operation (--resume) the
// latest record must be a success of the same command on this commit.
func doneAs(l *gitstate.Latest, commit string, r *Planned) (bool, string) {
	if r.Op.Name == note.Deploy {
		return l.Done(commit, r.as())
	}
	ok, _ := l.Succeeded(r.Op.Name, r.as())
	return ok && l.Commit == commit, fmt.Sprintf("%s succeeded here in run %s", r.Op.Name, l.Run)
}

// decideAll decides about stacks by a state, and returns those that are not executed.
func (n *Session) decideAll(ctx context.Context, st *gitstate.State, paths []string, rules Rules) (map[string]Decision, error) {
	known, err := n.factsOf(ctx, st, paths, rules)
	if err != nil {
		return nil, err
	}
	off := map[string]Decision{}
	for _, path := range paths {
		r := n.Planned(path)
		if d := decide(&r, known[path], rules); d.Verdict != Run {
			off[path] = d
		}
	}
	return off, nil
}

// factsOf finds out what the rules want to know of stacks.
func (n *Session) factsOf(ctx context.Context, st *gitstate.State, paths []string, rules Rules) (map[string]*facts, error) {
	known := make(map[string]*facts, len(paths))
	done := map[string]string{} // what those that are done were made of
	for _, path := range paths {
		r := n.Planned(path)
		f := &facts{commit: n.Commit.Hash, run: n.RunID}
		known[path] = f
		if r.Op.Name != note.Deploy && !rules.Resume && !rules.InRun && rules.Gone == nil {
			continue
		}
		var err error
		if f.latest, err = n.Locate(st, &r); err != nil {
			return nil, err
		}
		f.others = r.maybe
		if is, _ := f.done(&r); is && !rules.Force {
			done[path] = f.latest.Inputs
		}
	}
	anew, err := n.regenerated(ctx, done)
	if err != nil {
		return nil, err
	}
	for path, is := range anew {
		known[path].anew = is
	}
	return known, n.findNewer(ctx, st, paths, known, rules)
}

// findNewer finds out for deployments that are not done whether something newer is deployed.
func (n *Session) findNewer(ctx context.Context, st *gitstate.State, paths []string, known map[string]*facts, rules Rules) error {
	var ask []gitstate.Latest
	var of []*facts
	for _, path := range paths {
		r, f := n.Planned(path), known[path]
		if done, _ := f.done(&r); r.Op.Name != note.Deploy || rules.Rollback || done && !rules.Force {
			continue
		}
		for _, l := range f.places() {
			why, err := n.newer.back(&l, path)
			if err != nil {
				return err
			}
			f.stepBack = append(f.stepBack, why)
			if why != "" {
				break
			}
			ask, of = append(ask, l), append(of, f)
		}
	}
	late, guessed, err := st.Superseded(ctx, n.Commit.Hash, ask)
	if err != nil {
		return err
	}
	for i, f := range of {
		f.late = append(f.late, late[i])
	}
	if guessed > 0 {
		n.Out.Warn(fmt.Sprintf("the history of %s is not in this clone: commit times decide which commit is newer", runner.Plural(guessed, "deployed commit")))
	}
	return nil
}

// regenerated are those of the stacks that are done at this commit but for generated code
// that git ignores. done has the digests of what they were made of, by path.
func (n *Session) regenerated(ctx context.Context, done map[string]string) (map[string]bool, error) {
	var paths []string
	for path := range done {
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		return nil, nil
	}
	now, err := project.IgnoredDigests(ctx, n.Store.WorkTree(), paths)
	if err != nil {
		return nil, err
	}
	anew := map[string]bool{}
	for _, path := range paths {
		anew[path] = !project.SameIgnored(done[path], now[path])
	}
	return anew, nil
}
