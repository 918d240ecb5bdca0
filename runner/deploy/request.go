package deploy

import (
	"time"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
)

// Request is what a person asked for, checked. There is no flag and no variable in it.
type Request struct {
	Command    []string // as it is recorded
	Op         string   // what it does; "" where the command says it
	Select     project.Selection
	Filter     query.StatusFilter
	Revisit    Revisit
	Safeguards project.Safeguards
	Exec       runner.Options
	Waves      Waves
	Claims     ClaimOptions
	Sync       Sync
	Interval   time.Duration // between pushes

	Run         string // the run that it takes part in
	Leg         *Leg   // of that run, whose stacks it is about
	Wait        bool   // for stacks of other legs,
	WaitTimeout time.Duration

	Gone *Gone // the stacks are none of HEAD's: they are destroyed

	Targeted bool // it is about the state of a target, of which there has to be one where the project has them

	Pending bool // select what is not deployed;
	Init    bool // and that is everything

	Force, Resume, Rollback, Reverse bool

	BreakHold string // why it runs in spite of holds; "" where it does not

	RespectOrder bool // a failure blocks also what changes nothing
}

// rules are those that it says.
func (r *Request) rules() Rules {
	return Rules{Force: r.Force, Resume: r.Resume, Rollback: r.Rollback, InRun: r.Leg != nil && !r.Leg.Aside && !r.Leg.Anew, Gone: r.Gone}
}

// decides reports whether what is executed depends on what is deployed: whose state is it then
// that is read, is the remote's.
func (r *Request) decides() bool { return r.Filter.Set() || r.Pending || r.Revisit.set() }

// ClaimOptions are how stacks are claimed.
type ClaimOptions struct {
	Off       bool
	OnClaimed string // wait, skip or fail
	Lease     time.Duration
}
