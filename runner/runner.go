// Package runner decides in which order the commands of stacks run, and runs
// them: at most so many stacks at once, a failure holding back only the stacks that
// depend on it, and of these not the ones whose task changes nothing.
//
// A caller makes a [Graph] of the selected stacks (NewGraph, after Sort and
// Reduce where it has no order yet), a [Task] for each, and calls [Execute],
// which tells its observer of every start and end before anything follows
// from it. So an observer that writes records, and fails where it cannot, makes
// sure that nothing runs that is not on record. What a command does to a stack, and so
// under which name its result may be kept, is package command's to say.
//
// The package knows neither Terramate nor git: stacks are paths, results are
// values. The order is nevertheless Terramate's (v0.17.2, run/dag and
// scheduler), so that both tools run the same stacks the same way.
package runner

import (
	"context"
	"io"
	"os"
	"regexp"
	"time"
)

// Stack is what the runner needs to know of a Terramate stack.
type Stack struct {
	Path string   // project path, "/prod/vpc"
	ID   string   // stack.id in lower case, or ""
	Name string   // for humans
	Dir  string   // absolute directory on the host; commands run there
	Tags []string // stack.tags
}

// Status is what came of a stack, in the words that records use.
type Status string

// The statuses of a [Result]. StatusRunning is only seen in events.
const (
	StatusOK       Status = "ok"
	StatusFailed   Status = "failed"
	StatusCanceled Status = "canceled" // interrupted, or never started because the run was stopped
	StatusBlocked  Status = "blocked"  // a stack that it depends on failed, or too many others did
	StatusDrifted  Status = "drifted"  // exit code 2 of a Command with Changes
	StatusSkipped  Status = "skipped"  // not needed any more, as Options.Admit found
	StatusRunning  Status = "running"
)

// Task is what to run in a stack: one command, or several that run one after the
// other until one fails.
type Task struct {
	Stack    Stack
	Commands []Command
	Env      []string // the whole environment; the last entry of a name wins

	// Secrets, if set, hides what is secret in all that a Result says of the task.
	// It learns what Prepare adds to the environment.
	Secrets Secrets

	// Regardless has it run also where what it comes after failed, for which it
	// still waits. What comes after it is blocked by that failure all the same,
	// unless it runs regardless, too.
	Regardless bool

	// Log, if set, gets all that the commands print and that passes through us, of all
	// tries: whole lines of both streams in the order in which they came, one Write at a time.
	Log io.Writer

	// After, if set, is called once, after the last try of a stack of which
	// something was started, and returns before Finished is observed. Several
	// stacks' may run side by side. ctx ends with the first interrupt.
	After func(ctx context.Context, r Result)
}

// Secrets knows what must not be shown or kept of what commands print. It is used
// from several goroutines.
type Secrets interface {
	Learn(env []string)
	Hide(text string) string
}

// hide is Secrets.Hide, if there is anything to hide.
func (t Task) hide(text string) string {
	if t.Secrets == nil || text == "" {
		return text
	}
	return t.Secrets.Hide(text)
}

// Command is one of a [Task].
type Command struct {
	Args []string

	// Line, if set, is written to the stack's stderr right before each start.
	Line string

	// Prepare, if set, is called once, after the start of the stack was observed
	// and right before the command's first start. What it returns is added to
	// Env for this command; its error fails the stack, without another try. ctx
	// ends with the first interrupt.
	Prepare func(ctx context.Context) (extraEnv []string, err error)

	// Changes, if set, says that exit code 2 means "there are changes", as that
	// of terraform plan -detailed-exitcode does, and is no failure: the
	// status of a stack of which nothing fails is then StatusDrifted or StatusOK.
	Changes Status

	// Tee, if set, is called before each start; what the command writes to its
	// stdout goes to the writer that it returns, too, from one goroutine. The
	// child then has a pipe for its stdout, also where Options.Stdout is a terminal.
	Tee func() io.Writer
}

// Options say how [Execute] runs its tasks. The zero value runs one at a time,
// with no input, and drops the output.
type Options struct {
	Parallel int  // at most so many stacks at once; less than 1 is 1
	FailFast bool // the first failure starts nothing further, not even another try

	// StopAfter, if not 0, is how many failures start nothing further, likewise. What
	// was not started is then blocked, with the last of them as the cause, where
	// FailFast cancels it: it is not over with the run that it belongs to.
	StopAfter int

	Retries   int                         // further tries after a failed one
	RetryOn   *regexp.Regexp              // if set, only where a line of the try's output matches
	Backoff   func(try int) time.Duration // wait after the try'th failure (from 1); nil: up to 1s·2^(try-1), at most 30 s, at random
	Timeout   time.Duration               // of one try, all its commands; 0 is none. Then SIGINT, and
	KillAfter time.Duration               // so much later SIGKILL; 0 is 30 s

	// Stdin is what children read. It should be an *os.File: of any other
	// reader a goroutine reads ahead for the child, and lives until the
	// reader returns. With several children at once only OutputDirect
	// hands it on.
	Stdin io.Reader
	// Stdout and Stderr get the children's output; nil drops it. One Write at a
	// time is made to both, each of whole lines where Output says so. Their
	// errors are ignored: a closed pager is no reason to break an apply.
	Stdout, Stderr io.Writer
	Output         OutputMode
	Prefix         func(Stack) string       // of OutputPrefixed; nil: path and " | "
	Clean          func(line []byte) []byte // of OutputPrefixed: what is written of a line; nil: all of it
	// GroupStart and GroupEnd are what is written around a group, to Marks, or
	// where that is nil to Stdout; nil is nothing, and a line end is added where it
	// lacks. GroupStart is told what came of the stack, with StatusRunning where
	// its output is written as it comes.
	GroupStart, GroupEnd func(Stack, Result) string
	Marks                io.Writer

	// Signals is what the caller was notified of; see [Execute].
	Signals <-chan os.Signal
	// Foreground says that the children share the process group that a
	// terminal sends Ctrl-C to, see [Foreground]. They have a keyboard signal
	// already when we learn of it, and are not sent another, as Terraform
	// takes a second SIGINT as an order to die.
	Foreground bool

	// Admit, if set, is asked before stacks are started: about all that are ready, as
	// many as there is room for, at once. It answers for each in their order. It is
	// called from one goroutine at a time, while others run, and may take long;
	// ctx ends with the first interrupt. Its error stops the run, as the observer's.
	Admit func(ctx context.Context, ready []Stack) ([]Admission, error)
	// Upcoming, if set, is called once, before Admit: with a function that Admit may
	// call to learn which stacks are ready beside those that it is asked about.
	Upcoming func(next func(most int) []Stack)

	// Inherit are files that each child has open beside its first three, for
	// whatever hangs on them. Windows has no such thing.
	Inherit []*os.File

	DryRun bool // observe a Started event for each that would run, in order, and run nothing

	// Skip has the stacks that are done already: they count as ok, are not
	// run and cause no event. They still stand between others: what comes
	// after one waits for, and is blocked by, what comes before it.
	Skip map[string]bool
	// Blocked has stacks that are blocked from the start.
	Blocked map[string]Cause
}

// Cause is the stack at the root that blocks others, and, where it did not fail, why.
type Cause struct{ Path, Reason string }

// Result is what came of a stack.
type Result struct {
	Stack   Stack
	Status  Status        // empty for a stack that a dry run would have run
	Exit    int           // exit code of the last try: of the command that failed, or found drift; -1 if there is none
	Started time.Time     // when that was observed; zero if it was not
	Took    time.Duration // all tries and what lay between
	Tries   int           // tries that were begun
	Cause   string        // of a blocked one: path of the stack that failed in the first place
	Reason  string        // one line for humans, from which Task.Secrets has hidden what it knows; of a blocked one where Cause does not say it all
	At      string        // FILE:LINE of Reason, seen from the stack's folder, where an error names it
	Last    []string      // of one that did not succeed: the last lines of its output, three at most, raw as well
	Signal  string        // "SIGKILL", if the last try was ended by one
}

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	Started     EventKind = iota + 1 // about to be run, once a stack
	Retrying                         // a try failed (Result), another follows after Wait
	Finished                         // Result is final; also of stacks that were never started
	Interrupted                      // Signal arrived, the first one
	Held                             // put off by Options.Admit, or by who calls Execute, for at least Wait; Result.Reason says why
)

func (k EventKind) String() string {
	switch k {
	case Started:
		return "started"
	case Retrying:
		return "retrying"
	case Finished:
		return "finished"
	case Interrupted:
		return "interrupted"
	case Held:
		return "held"
	}
	return "unknown"
}

// Event is handed to the observer of [Execute].
type Event struct {
	Kind   EventKind
	Result Result        // of an Interrupted event: empty
	Signal os.Signal     // of an Interrupted event
	Wait   time.Duration // of a Retrying or Held event
}
