// Package git is the git binary and what goes past it: where a repository is and how it is
// configured, objects, refs that move by compare-and-swap, and locks between processes.
package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

var (
	// ErrNoRepository is where git finds no repository.
	ErrNoRepository = errors.New("not a git repository")
	// ErrUnsupported is a repository that cannot be written with go-git.
	ErrUnsupported = errors.New("this repository cannot hold the notes")
	// ErrRemote is where a remote could not be reached, or did not answer as git does.
	ErrRemote = errors.New("the remote could not be asked")
)

// A remote is waited for so long where nothing else is said, and asked so often where a
// moment may mend what is wrong.
const (
	DefaultNetworkTimeout = 2 * time.Minute
	NetworkTries          = 3
)

// ConfigFile is where settings can stand in the repository itself.
const ConfigFile = ".tmnotesconfig"

// Repo is a repository as git sees it: where its parts are is asked of git, so
// that whatever git can open is opened, with the user's configuration.
type Repo struct {
	Dir       string // where git commands are run
	Environ   []string
	CommonDir string // shared by linked worktrees
	WorkTree  string // "" in a bare repository
	Objects   string
	head      string // the file HEAD of this work tree
	Shallow   bool
	Config    map[string][]string // tmnotes.*, keys in lower case
	Committed map[string][]string // what stands in ConfigFile, likewise
	Remotes   []string            // their names, as they are configured
	Mirrors   []string            // those that are mirrors
	urls      map[string][]string // of remotes, by remote.*.url and .pushurl; nil where others may stand for them

	// How long an object is waited for: any that is here, and one that a partial clone
	// lacks; at a signal no longer than the former.
	LocalRead, Patience time.Duration
	interrupted         <-chan struct{}

	mu  sync.Mutex
	cat *catFile

	openStore sync.Once
	store     *store
	readers   sync.Pool // of *objectReader
}

// Open asks git where the repository of dir is.
func Open(ctx context.Context, dir string, environ []string) (*Repo, error) {
	r := &Repo{Dir: dir, Environ: environ, interrupted: ctx.Done(), LocalRead: 5 * time.Second, Patience: DefaultNetworkTimeout}
	// Two questions that git answers side by side.
	var out, conf string
	var err, confErr error
	var wait sync.WaitGroup
	wait.Go(func() {
		conf, confErr = r.Git(ctx, nil, "config", "-z", "--get-regexp", `^(tmnotes\.|remote\.|url\.|gpg\.|commit\.gpgsign$|push\.gpgsign$|user\.signingkey$|extensions\.refstorage$)`)
	})
	out, err = r.Git(ctx, nil, "rev-parse", "--path-format=absolute", "--git-common-dir",
		"--git-path", "objects", "--git-path", "HEAD", "--is-shallow-repository", "--show-object-format", "--show-toplevel")
	wait.Wait()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	switch {
	case len(lines) == 5 && errors.As(err, new(*Error)): // without a work tree the last question is an error
	case err != nil:
		return nil, r.notOpened(err)
	case len(lines) == 6:
		r.WorkTree = filepath.FromSlash(lines[5])
	default:
		return nil, fmt.Errorf("opening the repository: git rev-parse answered %q; git 2.31 or newer is needed", out)
	}
	r.CommonDir, r.Objects, r.head = filepath.FromSlash(lines[0]), filepath.FromSlash(lines[1]), filepath.FromSlash(lines[2])
	r.Shallow = lines[3] == "true"
	if lines[4] != "sha1" {
		return nil, fmt.Errorf("%w: its object format is %s, which tmnotes does not support yet", ErrUnsupported, lines[4])
	}
	if ge := (*Error)(nil); confErr != nil && !(errors.As(confErr, &ge) && ge.Code == 1) {
		return nil, fmt.Errorf("reading git's configuration: %w", confErr)
	}
	r.urls = map[string][]string{}
	r.Config = parseConfig(conf, func(key, value string) {
		name, _ := strings.CutPrefix(key, "remote.")
		dot := strings.LastIndexByte(name, '.')
		if dot > 0 && (name[dot:] == ".url" || name[dot:] == ".pushurl") {
			r.urls[name] = append(r.urls[name], value)
		}
		if dot > 0 && !slices.Contains(r.Remotes, name[:dot]) {
			r.Remotes = append(r.Remotes, name[:dot])
		}
		if dot > 0 && name[dot:] == ".mirror" && value != "false" {
			r.Mirrors = append(r.Mirrors, name[:dot])
		}
	})
	for key := range r.Config {
		if strings.HasPrefix(key, "url.") { // git-config(1), url.*.insteadOf
			r.urls = nil
		}
	}
	if f := r.Setting("extensions.refstorage"); f != "" && f != "files" {
		return nil, fmt.Errorf("%w: it stores refs as %s, which tmnotes does not support yet; `git refs migrate --ref-format=files` changes it", ErrUnsupported, f)
	}
	if r.WorkTree != "" {
		if err := r.readConfigFile(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// notOpened says why git finds no repository that it can open.
func (r *Repo) notOpened(err error) error {
	var ge *Error
	if errors.As(err, &ge) {
		switch low := strings.ToLower(ge.Stderr); {
		case strings.Contains(low, "refstorage") || strings.Contains(low, "reftable"):
			return fmt.Errorf("%w: it stores refs as reftable, which tmnotes does not support yet; `git refs migrate --ref-format=files` changes it", ErrUnsupported)
		case strings.Contains(low, "dubious ownership"):
			return notOwned(ge.Stderr)
		case strings.Contains(low, "not a git repository") && r.Getenv("GIT_DIR") != "":
			return fmt.Errorf("%w: GIT_DIR=%s is set in the environment, as it is in a server's hook, and there is none from %s; unset GIT_DIR first", ErrNoRepository, r.Getenv("GIT_DIR"), r.Dir)
		case strings.Contains(low, "not a git repository"):
			return fmt.Errorf("%w: %s; run this inside the repository of your Terramate project", ErrNoRepository, r.Dir)
		}
	}
	return fmt.Errorf("opening the repository: %w", err)
}

// notOwned passes on what git advises where somebody else owns the repository.
func notOwned(stderr string) error {
	said := LastLines(stderr, 0)
	for line := range strings.Lines(stderr) {
		if do := strings.TrimSpace(line); strings.HasPrefix(do, "git config ") {
			return fmt.Errorf("%s; if you trust it: %s", said, do)
		}
	}
	return errors.New(said)
}

// readConfigFile reads ConfigFile, if there is one.
func (r *Repo) readConfigFile(ctx context.Context) error {
	file := filepath.Join(r.WorkTree, ConfigFile)
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("reading %s: %w", ConfigFile, err)
	case !info.Mode().IsRegular(): // a link would have another repository's file read
		return fmt.Errorf("%s must be a file, and no link to one", ConfigFile)
	}
	out, err := r.Git(ctx, nil, "config", "--file", file, "--no-includes", "-z", "--list")
	if err != nil {
		return fmt.Errorf("reading %s: %w", ConfigFile, err)
	}
	r.Committed = parseConfig(out, nil)
	return nil
}

// parseConfig reads what git config -z prints. Keys of a remote are handed on.
func parseConfig(out string, remote func(key, value string)) map[string][]string {
	config := map[string][]string{}
	for kv := range strings.SplitSeq(out, "\x00") {
		key, value, valued := strings.Cut(kv, "\n")
		if !valued {
			value = "true" // a key without a value
		}
		switch {
		case remote != nil && strings.HasPrefix(key, "remote."):
			remote(key, value)
		case key != "":
			config[key] = append(config[key], value)
		}
	}
	return config
}

// OnlyURL is the one URL that is fetched from and pushed to, if that is as simple, and stands in the
// configuration: else git has to be asked.
func (r *Repo) OnlyURL(remote string) (url string, is bool) {
	urls := r.urls[remote+".url"]
	if len(urls) != 1 || urls[0] == "" || len(r.urls[remote+".pushurl"]) > 0 {
		return "", false
	}
	return urls[0], true
}

// Settings are all values of a key, those of git's configuration or else those that
// are committed.
func (r *Repo) Settings(key string) []string {
	key = strings.ToLower(key)
	if v := r.Config[key]; v != nil || slices.Contains(personal, key) {
		return v
	}
	return r.Committed[key]
}

// personal are keys that ConfigFile cannot set: whoever can have a branch checked out
// would choose where records are read from and pushed to.
var personal = []string{"tmnotes.ref", "tmnotes.remote"}

// Setting is the last of them, as with git, "" if there is none.
func (r *Repo) Setting(key string) string {
	if v := r.Settings(key); len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// GitOwn is the value of a key of git's configuration, never of ConfigFile: what is
// committed must not choose what is executed.
func (r *Repo) GitOwn(key string) string {
	if v := r.Config[strings.ToLower(key)]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// Error is a git command that failed.
type Error struct {
	Args   []string
	Code   int
	Stderr string
	Tries  int // of the network: how often it was run
}

func (e *Error) Error() string {
	return fmt.Sprintf("git %s: %s", e.Args[0], LastLines(e.Stderr, e.Code))
}

// LastLines makes one line of what git complained of: git says what is wrong
// in lines that start with fatal: or error:, the rest is context.
func LastLines(stderr string, code int) string {
	var said, other []string
	for line := range strings.SplitSeq(stderr, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "fatal: "), strings.HasPrefix(line, "error: "), strings.HasPrefix(line, "remote: "), strings.HasPrefix(line, "ssh: "):
			said = append(said, strings.TrimPrefix(strings.TrimPrefix(line, "fatal: "), "error: "))
		case !strings.HasPrefix(line, "hint: "):
			other = append(other, line)
		}
	}
	if len(said) == 0 {
		said = other
	}
	// How a conversation ended is no news where it is said why.
	ends := func(line string) bool {
		return line == "Could not read from remote repository." || line == "the remote end hung up unexpectedly" || strings.HasPrefix(line, "failed to push some refs to ")
	}
	if why := slices.DeleteFunc(slices.Clone(said), ends); len(why) > 0 {
		said = why
	}
	if len(said) == 0 {
		return "exit code " + strconv.Itoa(code)
	}
	if len(said) > 3 {
		said = said[:3]
	}
	return new(note.Redactor).Text(strings.Join(said, "; "), 400)
}

// Getenv is a variable of git's, whose names are in capitals everywhere.
func (r *Repo) Getenv(name string) string {
	for _, kv := range slices.Backward(r.Environ) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}

// Command prepares a git child. Its messages are read, so they are in English.
func (r *Repo) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(slices.Clip(r.Environ), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	return cmd
}

// Git runs git to its end. A Ctrl-C on the terminal is for tmnotes, which lets git finish
// what it writes; a context that ends asks it to, before it is killed.
func (r *Repo) Git(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return r.run(ctx, r.Command(ctx, args...), stdin)
}

func (r *Repo) run(ctx context.Context, cmd *exec.Cmd, stdin io.Reader) (string, error) {
	args := cmd.Args[1:]
	OwnGroup(cmd)
	cmd.Cancel = func() error { return Terminate(cmd, true) }
	cmd.Stdin = stdin
	// What a hook left running in the background may hold on to the pipes.
	stdout, stderr, err := RunChild(cmd, 5*time.Second)
	if err == nil {
		return stdout, nil
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("git is not installed, or not in PATH")
	case !errors.As(err, &exit):
		return "", fmt.Errorf("git %s: %w", args[0], err)
	case ctx.Err() != nil:
		return stdout, fmt.Errorf("git %s: %w", args[0], context.Cause(ctx))
	}
	return stdout, &Error{Args: args, Code: exit.ExitCode(), Stderr: stderr}
}
