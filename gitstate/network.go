package gitstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// NetworkTimeout is how long a remote is waited for: by a fetch, by a push, by all that is to
// be sent at the end of a run.
func (s *Store) NetworkTimeout() time.Duration { return s.networkTimeout }

// bounded is a context for one fetch or push, with all its tries. What has to be waited
// for besides is added.
func (s *Store) bounded(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.networkTimeout+more, NoAnswer(s.networkTimeout+more))
}

// network runs git with the user's own way of reaching a remote. Where nobody
// is there to ask, git must not wait for an answer.
func (s *Store) network(ctx context.Context, args ...string) (string, error) {
	return s.networkWith(ctx, nil, args...)
}

// networkWith is network with more in the environment.
func (s *Store) networkWith(ctx context.Context, env []string, args ...string) (string, error) {
	ctx, cancel := s.bounded(ctx, 0)
	defer cancel()
	return s.persist(ctx, func() (string, error) { return s.networkOnce(ctx, env, args) })
}

// persist calls once, again where the error of git that it returns may be gone in a moment.
func (s *Store) persist(ctx context.Context, once func() (string, error)) (string, error) {
	for try := 1; ; try++ {
		out, err := once()
		var ge *git.Error
		if !errors.As(err, &ge) {
			return out, err
		}
		ge.Tries = try
		// git says why it fails, but on a Windows so busy that nobody reads it in time (see git.RunChild).
		unheard := ge.Code > 0 && out == "" && ge.Stderr == ""
		if _, again := classify(ge.Stderr); !again && !unheard || try == git.NetworkTries {
			return out, err
		}
		if pause(ctx, backoff(try-1, min(time.Second, s.networkTimeout/30), 5*time.Second)) != nil {
			return out, err
		}
	}
}

// AskOtherwise has other code ask a remote by a git of its own, as often as this package would,
// and returns an ErrRemote in this package's words. ask returns what git printed where it
// failed; an error without that is returned as it is.
func (r Remote) AskOtherwise(ctx context.Context, doing string, ask func() (stderr string, err error)) error {
	s, remote := r.store, r.name
	_, err := s.persist(ctx, func() (string, error) {
		stderr, err := ask()
		if err != nil && stderr != "" {
			err = &git.Error{Args: []string{"ls-remote"}, Code: 128, Stderr: stderr}
		}
		return "", err
	})
	if ge := (*git.Error)(nil); errors.As(err, &ge) {
		return remoteError(doing, remote, err)
	}
	return err
}

func (s *Store) networkOnce(ctx context.Context, env, args []string) (string, error) {
	cmd := s.repo.Command(ctx, args...)
	cmd.Env = append(cmd.Env, env...)
	alone := !term.IsTerminal(int(os.Stdin.Fd()))
	if alone {
		git.OwnGroup(cmd)
		cmd.Env = append(cmd.Env, "GIT_TERMINAL_PROMPT=0")
	}
	// It removes its locks, and ends what it has started.
	cmd.Cancel = func() error { return git.Terminate(cmd, alone) }
	stdout, stderr, err := git.RunChild(cmd, 2*time.Second) // what it left running has its stderr
	if err == nil {
		return stdout, nil
	}
	if ctx.Err() != nil {
		return stdout, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return "", fmt.Errorf("git %s: %w", subcommand(args), err)
	}
	return stdout, &git.Error{Args: []string{subcommand(args)}, Code: exit.ExitCode(), Stderr: stderr}
}

// subcommand is the name of a git command, behind settings that are for it alone.
func subcommand(args []string) string {
	for len(args) > 2 && args[0] == "-c" {
		args = args[2:]
	}
	return args[0]
}

// urls are where fetches from a remote go, and pushes.
func (s *Store) urls(ctx context.Context, remote string) (fetches string, pushes []string, err error) {
	if url, is := s.repo.OnlyURL(remote); is {
		return url, []string{url}, nil
	}
	if fetches, err = s.Remote(remote).URL(ctx); err != nil {
		return "", nil, err
	}
	out, err := s.repo.Git(ctx, nil, "remote", "get-url", "--push", "--all", remote)
	return fetches, strings.Split(strings.TrimSpace(out), "\n"), err
}

// PushURLs are where pushes of the notes to a remote go, and the places that a push of code
// goes to besides.
func (r Remote) PushURLs(ctx context.Context) (to string, besides []string, err error) {
	s, remote := r.store, r.name
	fetches, pushes, err := s.urls(ctx, remote)
	if err != nil {
		return "", nil, err
	}
	to = pushes[0]
	if slices.Contains(pushes, fetches) {
		to = fetches
	}
	return to, slices.DeleteFunc(pushes, func(url string) bool { return url == to }), nil
}

// pushTarget is what to call a remote in a push. Of several URLs it is one, since a
// compare-and-swap has one place: that which is read, or the first.
func (s *Store) pushTarget(ctx context.Context, remote string) string {
	if known, is := s.targets.Load(remote); is {
		return known.(string)
	}
	target := remote
	if to, besides, err := s.Remote(remote).PushURLs(ctx); err == nil && len(besides) > 0 {
		target = to
	}
	s.targets.Store(remote, target)
	return target
}

// claimsAt is what to call a remote where claims are asked for. They are where they are pushed
// to: a replica that is fetched from may not have them yet, nor ever show that one ended.
func (s *Store) claimsAt(ctx context.Context, remote string) string {
	key := remote + " claims"
	if known, is := s.targets.Load(key); is {
		return known.(string)
	}
	at := remote
	if fetches, pushes, err := s.urls(ctx, remote); err == nil && !slices.Contains(pushes, fetches) {
		at = pushes[0]
	}
	s.targets.Store(key, at)
	return at
}

// pushSettings are settings for a git push of ours, in its environment, beside the user's own there: what it
// pushes it then notes down in the tracking ref, also in that ref's log. (Who wraps git looks for `git push`.)
func (s *Store) pushSettings(remote string) (env []string) {
	n, _ := strconv.Atoi(s.repo.Getenv("GIT_CONFIG_COUNT")) // git says what is wrong with it
	for _, kv := range [][2]string{{"remote." + remote + ".fetch", "+" + s.ref + ":" + s.tracking(remote)}, {"core.logAllRefUpdates", "always"}} {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", n, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", n, kv[1]))
		n++
	}
	return append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", n))
}

// pushArgs is how a git push of ours begins. A user's settings for pushes of code must not be in
// its way: a hook, tags, submodules; that a mirror sends all it has; and that every
// push is signed, with a server that knows no signed pushes (it is signed if the server does).
func (s *Store) pushArgs(remote string) []string {
	var args []string
	if slices.Contains(s.repo.Mirrors, remote) {
		args = append(args, "-c", "remote."+remote+".mirror=false")
	}
	args = append(args, "push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no")
	switch strings.ToLower(s.repo.Setting("push.gpgSign")) {
	case "true", "yes", "on", "1":
		args = append(args, "--signed=if-asked")
	}
	return args
}
