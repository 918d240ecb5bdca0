package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/runner/terminal"
)

// Commands that show the state to a person fetch it first, where what is here is old: who looks at
// it at night should not have to know that it is a copy. A program gets what is in the clone.

const (
	freshFor     = time.Minute
	lookPatience = 5 * time.Second // for a remote that does not answer: what is here is shown then

	refreshHelp = "On a terminal it fetches first if the last fetch is more than a minute ago (--offline does not), and shows what is here\n" +
		"if the remote does not answer. Elsewhere it reads what is here and says how old that is; `tmnotes fetch` brings the rest.\n"
)

func refreshFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "offline", Usage: "ask no remote, as with --sync=off"},
		settings.sync.flagFor("`MODE` auto: fetch first on a terminal, if the last fetch is more than a minute ago; off: do not"),
	}
}

func checkRefresh(c *cli.Context) error {
	switch mode := c.String("sync"); {
	case c.Bool("offline") && c.IsSet("sync") && !flagNamed(c.Command, "sync").IsSet() && mode != "off": // it is of no variable
		return fmt.Errorf("--offline is --sync=off; leave out --offline, or --sync=%s", mode)
	case c.IsSet("sync") && mode != "auto" && mode != "off" && mode != "require":
		return fmt.Errorf("--sync: unknown mode %q; use auto or off", mode)
	}
	return nil
}

// offline reports whether no remote is to be asked.
func (here *clone) offline() bool {
	return here.c.Bool("offline") || syncSetting(here.c, here.store).Mode == "off"
}

// readFresh is readHere, on a terminal after a fetch if the last one is a while ago.
func (here *clone) readFresh() error {
	remote, err := findRemote(here.c, here.store, "")
	if err != nil {
		return err
	}
	stale := here.watched || remote != "" && time.Since(here.store.Remote(remote).LastFetch()) > freshFor
	if remote != "" && stale && !here.offline() && terminal.IsTerminal(here.env.Stdout) {
		ctx, cancel := lookTime(here.c.Context, here.store)
		_, err = here.store.Remote(remote).Fetch(ctx)
		cancel()
		if here.c.Context.Err() != nil {
			return &exitError{exitInterrupted, errors.New("interrupted")}
		}
	}
	here.unfetched = err
	return here.readHere()
}

// looking is the environment of a command that fetches though nobody said so: it asks for no
// password, which the time for an answer would not do for.
func looking(env Env) Env {
	env.Environ = env.with("GIT_TERMINAL_PROMPT=0", "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS="+cmp.Or(env.Getenv("SSH_ASKPASS"), "false"))
	return withScreen(env)
}

// lookTime is how long a remote is waited for by who only looks.
func lookTime(ctx context.Context, s *gitstate.Store) (context.Context, context.CancelFunc) {
	patience := min(lookPatience, s.NetworkTimeout())
	return context.WithTimeoutCause(ctx, patience, gitstate.NoAnswer(patience))
}

// sayAge says how old is what was shown, and why, where it could not be fetched.
func (here *clone) sayAge() {
	switch {
	case here.unfetched != nil:
		here.Warn(strings.TrimPrefix(here.age+"; ", "; ") + here.unfetched.Error())
	case here.age != "":
		here.Say("%s", here.age)
	}
}

// sayElsewhere says that a remote has notes of which none is here: that no stack was ever deployed
// is not what they say.
func (here *clone) sayElsewhere() error {
	remote, err := findRemote(here.c, here.store, "")
	if err != nil || remote == "" || !here.state.Empty() || !here.store.Remote(remote).LastFetch().IsZero() {
		return err
	}
	here.age = fmt.Sprintf("no notes in this clone yet; `tmnotes fetch` brings those of %s", remote)
	if here.offline() || here.unfetched != nil {
		return nil
	}
	ctx, cancel := lookTime(here.c.Context, here.store)
	defer cancel()
	switch v, err := here.store.Remote(remote).Ask(ctx); {
	case err != nil:
	case v.Notes != "" || v.Spools > 0:
		here.age = fmt.Sprintf("no notes in this clone yet (%s has some: tmnotes fetch)", remote)
	default:
		here.age = fmt.Sprintf("no notes in this clone yet, nor on %s", remote)
	}
	return nil
}

// interval is the value of --watch[=DURATION].
type interval struct{ time.Duration }

const usualInterval = 10 * time.Second

func (i *interval) IsBoolFlag() bool { return true } // it may stand without a value

func (i *interval) Set(text string) (err error) {
	switch text {
	case "true":
		i.Duration = usualInterval
	case "false":
		i.Duration = 0
	default:
		if i.Duration, err = time.ParseDuration(text); err == nil && i.Duration < time.Second {
			err = errors.New("less than a second")
		}
	}
	return err
}

// optionalFlag is one whose value may be left out.
type optionalFlag struct{ cli.GenericFlag }

func (*optionalFlag) TakesValue() bool { return false }

func watchFlag() cli.Flag {
	return &optionalFlag{cli.GenericFlag{Name: "watch", Value: &interval{}, DefaultText: "off",
		Usage: "show it again every 10s, or with --watch=DURATION as often as that, until Ctrl-C; needs a terminal"}}
}

// parseWatch is how often it is to be shown again; 0: not.
func parseWatch(c *cli.Context, env Env) (time.Duration, error) {
	every := c.Generic("watch").(*interval).Duration
	switch {
	case every == 0:
		return 0, nil
	case !newUI(env).HasView():
		return 0, errors.New("--watch needs a terminal, for stdout and stderr; leave it out")
	case c.String("format") != "text":
		return 0, errors.New("--watch is for people; leave out --watch, or --format")
	}
	return every, nil
}

// watch shows what once prints, and again every so often, until it is interrupted. What is wrong
// in between is shown as well: it may be gone the next time.
func watch(here *clone, every time.Duration, once func(*clone) error) error {
	ctx, screen := here.c.Context, here.Err.(*terminal.Screen)
	var mu sync.Mutex
	var text string
	look := func() error {
		var b bytes.Buffer
		p := *here.Printer
		p.Out, p.Err, p.Columns = &b, &b, screen.Columns()
		err := once(&clone{ui: &ui{&p, here.env}, c: here.c, store: here.store, dir: here.dir, watched: true})
		if err != nil {
			p.Fail(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			text = b.String()
		}
		return err
	}
	if err := look(); err != nil {
		return err
	}
	at := time.Now()
	view := screen.Show(func(width, height int) string {
		mu.Lock()
		defer mu.Unlock()
		foot := fmt.Sprintf("%s, every %v; Ctrl-C ends it", at.Format(time.TimeOnly), every)
		return terminal.Window(text, foot, width, height)
	})
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(every):
			_ = look()
			mu.Lock()
			at = time.Now()
			mu.Unlock()
		}
	}
	view.End()
	fmt.Fprint(here.Out, text)
	return nil
}
