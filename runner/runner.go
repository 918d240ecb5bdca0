// Package runner decides in which order the commands of stacks run, and runs
// them: at most so many at once, a failure holding back only the stacks that
// depend on it.
//
// A caller makes a [Graph] of the selected stacks (NewGraph, after Sort and
// Reduce where it has no order yet), a [Task] for each, and calls [Execute],
// which tells its observer of every start and end before anything follows
// from it. So an observer that writes records, and fails where it cannot, makes
// sure that nothing runs that is not on record. [Recognise] says what a
// command does to a stack, that is under which name its result may be kept.
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
	StatusBlocked  Status = "blocked"  // a stack that it depends on failed
	StatusDrifted  Status = "drifted"  // exit code 2 of a Task with Drift
	StatusRunning  Status = "running"
)

// Task is what to run in a stack.
type Task struct {
	Stack   Stack
	Command []string
	Env     []string // the whole environment; the last entry of a name wins

	// Prepare, if set, is called once, after the start was observed and right
	// before the command's first try. What it returns is added to Env; its
	// error fails the stack, without another try. ctx ends with the first
	// interrupt.
	Prepare func(ctx context.Context) (extraEnv []string, err error)

	// Drift says that exit code 2 means "there are changes", as that of
	// terraform plan -detailed-exitcode does, and is no failure.
	Drift bool

	// Tee, if set, is called before each try; what the try writes to its stdout
	// goes to the writer that it returns, too, from one goroutine. The child
	// then has a pipe for its stdout, also where Options.Stdout is a terminal.
	Tee func() io.Writer
	// After, if set, is called once, after the last try of a command that was
	// started, and returns before Finished is observed. Several stacks' may run
	// side by side. ctx ends with the first interrupt.
	After func(ctx context.Context, r Result)
}

// Options say how [Execute] runs its tasks. The zero value runs one at a time,
// with no input, and drops the output.
type Options struct {
	Parallel int  // at most so many stacks at once; less than 1 is 1
	FailFast bool // the first failure starts nothing further, not even another try

	Retries   int                         // further tries after a failed one
	RetryOn   *regexp.Regexp              // if set, only where a line of the try's output matches
	Backoff   func(try int) time.Duration // wait after the try'th failure (from 1); nil: up to 1s·2^(try-1), at most 30 s, at random
	Timeout   time.Duration               // of one try; 0 is none. Then SIGINT, and
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
	Prefix         func(Stack) string         // of OutputPrefixed; nil: path and " | "
	GroupStart     func(Stack) string         // of OutputGrouped; nil: none. A line end is added where it lacks
	GroupEnd       func(Stack, Result) string // likewise

	// Signals is what the caller was notified of; see [Execute].
	Signals <-chan os.Signal
	// Foreground says that the children share the process group that a
	// terminal sends Ctrl-C to, see [Foreground]. They have a keyboard signal
	// already when we learn of it, and are not sent another, as Terraform
	// takes a second SIGINT as an order to die.
	Foreground bool

	DryRun bool // observe a Started event for each that would run, in order, and run nothing

	// Skip has the stacks that are done already: they count as ok, are not
	// run and cause no event. They still stand between others: what comes
	// after one waits for, and is blocked by, what comes before it.
	Skip map[string]bool
	// Blocked has stacks that are blocked from the start, with the path of the
	// stack that is the root cause.
	Blocked map[string]string
}

// Result is what came of a stack.
type Result struct {
	Stack   Stack
	Status  Status        // empty for a stack that a dry run would have run
	Exit    int           // exit code of the last try; -1 if there is none
	Started time.Time     // when that was observed; zero if it was not
	Took    time.Duration // all tries and what lay between
	Tries   int           // tries that were begun
	Cause   string        // of a blocked one: path of the stack that failed in the first place
	Reason  string        // one line for humans, raw output of the child: redact before storing
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
	}
	return "unknown"
}

// Event is handed to the observer of [Execute].
type Event struct {
	Kind   EventKind
	Result Result        // of an Interrupted event: empty
	Signal os.Signal     // of an Interrupted event
	Wait   time.Duration // of a Retrying event
}
