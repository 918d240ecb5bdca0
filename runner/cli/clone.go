package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
	"github.com/tmnotes/tmnotes/runner/project"
	"github.com/tmnotes/tmnotes/runner/query"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// clone is where a command that executes nothing works, with what it has learned there.
// They all go the same way, as far as each has to: open the store, load the project,
// fetch the notes or take those that are here, read the state.
type clone struct {
	*ui
	c       *cli.Context
	store   *gitstate.Store
	dir     string           // that the names of stacks are seen from
	json    bool             // --format json
	project *project.Project // of load
	sync    deploy.Route     // of fetch
	age     string           // of the notes that readHere found, for people; "" where they are new
	state   *gitstate.State  // of read
	writer  *gitstate.Writer // of recordsOf
	// Of readFresh: it is looked at again and again; and why the remote's notes did not come.
	watched   bool
	unfetched error
}

// inClone is the action of a command: its flags are read and checked before anything is
// opened.
func inClone[Options any](env Env, parse func(*cli.Context) (Options, error), do func(*clone, Options) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		o, err := parse(c)
		if err == nil && c.IsSet("format") {
			err = checkFormat(c)
		}
		if err != nil {
			return err
		}
		return withStore(c, env, func(s *gitstate.Store, dir string) error {
			return do(&clone{ui: newUI(env), c: c, store: s, dir: dir, json: c.String("format") == "json"}, o)
		})
	}
}

func (here *clone) load(o project.Options) (err error) {
	o.Dir, o.Environ = here.dir, here.env.Environ
	here.project, err = project.Load(here.c.Context, o)
	return err
}

// plan is whether, and with which remote, an operation is synced.
func (here *clone) plan(op string) (deploy.Route, error) {
	remote := ""
	if here.project != nil {
		remote = here.project.DefaultRemote()
	}
	return planSync(here.c, here.store, remote, here.env.ci(), op)
}

// fetch brings the remote's notes, where the operation is synced.
func (here *clone) fetch(op string) (err error) {
	if here.sync, err = here.plan(op); err != nil {
		return err
	}
	return fetchNotes(here.c.Context, here.store, here.ui, here.sync)
}

// readHere takes the notes as they are here, and learns how old that is.
func (here *clone) readHere() (err error) {
	here.age, err = readLocal(here.c, here.store, here.watched)
	return err
}

// know is fetch, and read.
func (here *clone) know(op string) error {
	if err := here.fetch(op); err != nil {
		return err
	}
	return here.read()
}

func (here *clone) read() (err error) {
	here.state, err = here.store.State(here.c.Context)
	return err
}

// selectStacks are the stacks that were named, or all; of them those that a filter selects.
func (here *clone) selectStacks(names []string, below bool, filter *project.Selection) ([]runner.Stack, error) {
	stacks, err := here.project.All()
	if err == nil && len(names) > 0 {
		stacks, err = query.NamedStacks(here.store, here.dir, stacks, names, below)
	}
	if err != nil || filter == nil {
		return stacks, err
	}
	selected, err := here.project.List(*filter)
	return query.Among(stacks, selected), err
}

// noRecord is the error for a stack that has none.
func noRecord(of string, recorded map[string]bool) error {
	return fmt.Errorf("no record of %s%s; `tmnotes status` lists the stacks, `tmnotes fetch` brings the remote's records", of, query.MeantRecorded(of, recorded))
}

// record appends what somebody says by hand, and sends it where that is to be sent.
func (here *clone) record(commit string, records ...*note.Record) error {
	if here.store.SignsRecords() {
		if err := here.store.TrySign(here.c.Context); err != nil {
			return fmt.Errorf("%w; nothing was recorded", err)
		}
	}
	if err := here.writer.Append(commit, records...); err != nil {
		return err
	}
	return here.send()
}

// send writes the notes, and sends them where they are to be sent.
func (here *clone) send() error {
	runner.OutliveReader()
	if err := here.store.Flush(here.c.Context); err != nil {
		return err
	}
	if here.sync.Remote == "" {
		return nil
	}
	if _, err := here.store.Remote(here.sync.Remote).Push(here.c.Context); err != nil {
		return deploy.NotPushed(here.store, here.sync.Remote, err, here.env.ci())
	}
	return nil
}

// readLocal brings the journal and what a plain `git fetch` brought into the
// notes, and says how old they are, if that is more than a minute, or in any case.
func readLocal(c *cli.Context, s *gitstate.Store, always bool) (age string, err error) {
	remote, err := findRemote(c, s, "")
	if err != nil || remote == "" {
		if err := s.Flush(c.Context); !errors.Is(err, gitstate.ErrSign) {
			return "", err
		}
		return "", nil // it is read from the journal, too
	}
	if err := s.Remote(remote).Absorb(c.Context); errors.Is(err, gitstate.ErrSign) {
		return fmt.Sprintf("records fetched from %s may be missing: %v", remote, err), nil
	} else if err != nil {
		return "", err
	}
	last := s.Remote(remote).LastFetch()
	if last.IsZero() {
		return fmt.Sprintf("the notes of %s were never fetched; `tmnotes fetch` brings them", remote), nil
	}
	if d := time.Since(last); d > freshFor || always {
		return fmt.Sprintf("as of the last fetch from %s, %s", remote, terminal.Ago(d)), nil
	}
	return "", nil
}
