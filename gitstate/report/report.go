// Package report is what the notes say of a project's stacks, for people who
// were not there: a model of the state and of its recent history, and the page
// that shows it.
//
//	r, err := report.Build(ctx, store, state, report.Options{Stacks: stacks})
//	err = r.WriteJSON(w)
//	err = r.WriteHTML(w)
//
// It knows git's state and no Terramate: which stacks there are, what they are
// called, and which of them are gone is for the caller to say. Whatever else
// shows the state (a job summary, a test report, metrics) is made of a [Report]
// as well, so that all of them say the same.
//
// # What stays compatible
//
// The JSON of a Report: its keys are those of the records (gitstate/FORMAT.md)
// wherever they mean the same, times are RFC 3339 in UTC, and durations are
// seconds. Later versions may add keys.
package report

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Report is what is known of some stacks at one moment.
type Report struct {
	At         time.Time `json:"at"`                   // when it was made
	Repository string    `json:"repository,omitempty"` // what people call it
	Ref        string    `json:"ref"`                  // the notes ref it was read from
	// Fetched is when the notes of the remote were fetched last: what others
	// recorded since is not in the report. The zero time where they never were,
	// or there is no remote.
	Remote  string    `json:"remote,omitempty"`
	Fetched time.Time `json:"fetched,omitzero"`
	Head    string    `json:"head,omitempty"` // the commit that is checked out
	// Run is the run that the report is about, "" where it is about the state.
	Run string `json:"run,omitempty"`

	Stacks  []Stack  `json:"stacks"`  // in the order that they were given in
	Runs    []Run    `json:"runs"`    // the newest first
	Commits []Commit `json:"commits"` // the newest first
	Figures Figures  `json:"figures"` // over all of the stacks

	// OlderCommits is how many further commits have records, which are in no
	// history here; see Options.Commits.
	OlderCommits int `json:"older_commits,omitempty"`
}

// Stack is a stack for one target. The statuses are those of gitstate: Status
// is the stack's own (or Orphaned), the two others are those of the latest
// deployment or destruction, and of the latest drift run.
type Stack struct {
	Path   string   `json:"stack"`
	ID     string   `json:"id,omitempty"`
	Name   string   `json:"name,omitempty"`
	Tags   []string `json:"tags,omitempty"`
	Target string   `json:"target,omitempty"`

	Status           note.Status `json:"status"`
	DeploymentStatus note.Status `json:"deployment_status"`
	DriftStatus      note.Status `json:"drift_status"`
	// LastCommit is the last commit that had a stack that is gone from HEAD.
	LastCommit string `json:"last_commit,omitempty"`

	// Latest has the latest result of each operation: of deployments and
	// destructions together first, then of drift runs, then of others by name.
	Latest []Result `json:"latest,omitempty"`
	// Diverged are the runs in conflict with the latest deployment: neither
	// writer knew of the other, and the stack counts as not deployed.
	Diverged []string `json:"diverged,omitempty"`

	LastOK      *Result `json:"last_ok,omitempty"`      // the newest deployment that succeeded,
	LastFailure *Result `json:"last_failure,omitempty"` // that failed or was interrupted,
	LastDrift   *Result `json:"last_drift,omitempty"`   // and the newest drift run that found changes

	// History is what is recorded on the commits of the report, oldest first.
	// Notes do not keep that a stack was queued or running once it has ended, and
	// of drift runs that said the same on one commit only the last.
	History []Result `json:"history,omitempty"`
	// Took is of its deployments in History that succeeded.
	Took Durations `json:"took,omitzero"`
	// LeadTime is of those that brought something new; see Figures.
	LeadTime Durations `json:"lead_time,omitzero"`
}

// Deployment is the latest deployment or destruction; nil if there was none.
func (s *Stack) Deployment() *Result {
	return s.latest(func(op string) bool { return note.Op(op).Deploys() })
}

// Drift is the latest drift run; nil if there was none.
func (s *Stack) Drift() *Result {
	return s.latest(func(op string) bool { return op == note.Drift })
}

func (s *Stack) latest(is func(op string) bool) *Result {
	for i := range s.Latest {
		if is(s.Latest[i].Record.Op) {
			return &s.Latest[i]
		}
	}
	return nil
}

// Result is a record of a stack, with the commit whose note holds it.
type Result struct {
	Commit string `json:"commit"`
	// Status is the record's, or Interrupted where that is queued or running and
	// nobody is at it any more.
	Status note.Status `json:"status"`
	By     string      `json:"by,omitempty"` // who: of the run, or of a record made by hand
	Record note.Record `json:"record"`
	// Log is the output that is kept of it, of a last failure and of the results of the run
	// that the report is about; at most LogLimit bytes, without the middle of a longer one.
	Log string `json:"log,omitempty"`
}

// Run is one invocation as one commit's note tells of it.
type Run struct {
	Run    string `json:"run"`
	Commit string `json:"commit"`
	Op     string `json:"op,omitempty"`     // where all of its stacks have one
	Target string `json:"target,omitempty"` // likewise
	By     string `json:"by,omitempty"`
	Job    string `json:"job,omitempty"`
	// Attempt is that of the CI job.
	Attempt int    `json:"attempt,omitempty"`
	Cmd     string `json:"cmd,omitempty"`
	// Started is when its head was recorded, or else its first result.
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"` // zero while it is at work, and where it never came to its end
	// Status is Running while it is at work, else the worst of: Interrupted (it
	// has no end and nobody is at it), Failed, Blocked, Canceled, Drifted, OK.
	Status note.Status `json:"status"`
	// Stacks is how many were selected, where that was recorded. The others are
	// how many of the report's stacks ended how; Open is how many did not end.
	Stacks   int `json:"stacks,omitempty"`
	OK       int `json:"ok,omitempty"`
	Failed   int `json:"failed,omitempty"`
	Blocked  int `json:"blocked,omitempty"`
	Canceled int `json:"canceled,omitempty"`
	Drifted  int `json:"drifted,omitempty"`
	// Interrupted are those that did not end and never will.
	Interrupted int `json:"interrupted,omitempty"`
	// Verdict is what the signatures of its records on the commit say, signed, unsigned or bad, and Signed
	// the same in a line; both only where it is set who may sign.
	Verdict string `json:"verdict,omitempty"`
	Signed  string `json:"signed,omitempty"`
	Open    int    `json:"open,omitempty"`
	// ByHand is a record that somebody made: nothing was executed.
	ByHand bool `json:"by_hand,omitempty"`
}

// Commit is a column of the grid: a commit that has records, or HEAD.
type Commit struct {
	Hash    string    `json:"commit"`
	Subject string    `json:"subject,omitempty"` // "" of a commit that is not in this clone
	Time    time.Time `json:"time,omitzero"`     // the committer's
}

// Figures sum up the deployments of a report, in the words of DORA
// (https://dora.dev/guides/dora-metrics/), from what is recorded after Since.
//
// A deployment is a run of the operation deploy that executed something. It
// failed if a stack failed in it or was interrupted; where it was only canceled,
// is still at work, or marked a result by hand, it is not counted.
type Figures struct {
	Since time.Time `json:"since,omitzero"` // all that happened since then is in the report
	Until time.Time `json:"until"`

	Deployments int `json:"deployments"` // that ended
	Failed      int `json:"failed"`      // of these
	// PerDay is the deployment frequency: deployments that succeeded, by days
	// from Since to Until, of which there is at least one.
	PerDay float64 `json:"deployments_per_day"`
	// FailureRate is the change failure rate, 0 to 1: Failed of Deployments; nil
	// where there were none.
	FailureRate *float64 `json:"change_failure_rate,omitempty"`
	// TimeToRecover is the median of the times from a stack's first failure to its
	// next deployment that succeeded, one marked by hand included. Recoveries is
	// how many there were. A stack that is destroyed in between has not recovered.
	TimeToRecover Duration `json:"time_to_recover,omitzero"`
	Recoveries    int      `json:"recoveries"`
	// Failing is how many stacks have failed and not recovered yet.
	Failing int `json:"failing"`
	// Took is how long the deployment of a stack takes, if it succeeds.
	Took Durations `json:"took,omitzero"`
	// LeadTime is the lead time for changes, of a stack: from the time of the oldest commit with which
	// the stack was taken up since its success before (what failed, was blocked or canceled counts) to
	// its next success. One that brought nothing new (its inputs, or its commit, are those of the one before,
	// or its commit is no newer than one that succeeded before), or that was recorded by hand or with uncommitted changes, is none.
	// Of several commits that one pipeline takes up it knows the last.
	LeadTime Durations `json:"lead_time,omitzero"`
}

// Durations sum up how long something took.
type Durations struct {
	Count  int      `json:"count"`
	Median Duration `json:"median"`
	P95    Duration `json:"p95"` // 95 of 100 took no longer
}

// Duration is written as seconds, with one decimal, as took is.
type Duration time.Duration

// MarshalJSON never fails.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', 1, 64), nil
}

// WriteJSON writes the report as JSON, for people and programs: it is indented,
// and not for embedding in HTML.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}
