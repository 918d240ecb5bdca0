// Package project adapts Terramate v0.17.2, used as a library, to package
// runner: which stacks a project has, which of them a command line selects, in
// which order they run, with which environment.
//
//	p, err := project.Load(ctx, project.Options{Dir: wd})
//	stacks, err := p.Select(project.Selection{Changed: true})
//	err = p.CheckSafeguards(ctx, safeguards, sel, false)
//	graph, err := p.Graph(stacks)
//
// Everything that decides is Terramate's own: parsing, change detection, tags,
// wants, dependency filters, safeguards, evaluation. What is done here instead
// is what Terramate does in quadratic time (the order of parents and children)
// or cannot do as a library (it would exit the process).
//
// It is the only package that imports Terramate's engine, config, stack and run
// packages; no type of theirs but [DependencyFilters] is in its API. No
// telemetry and no version check is started. The network is used where stock
// Terramate uses it: by the out-of-sync safeguard, and to fetch a bundle whose
// source is remote.
//
// Errors are one line. A Project may be used by several goroutines for
// [Project.Env], [Project.Eval] and what [Project.Sharing] returns; everything
// else is for one goroutine at a time.
package project

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/log"
	"github.com/terramate-io/terramate"
	"github.com/terramate-io/terramate/commands/requiredversion"
	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/di"
	"github.com/terramate-io/terramate/engine"
	tmerrors "github.com/terramate-io/terramate/errors"
	"github.com/terramate-io/terramate/generate"
	"github.com/terramate-io/terramate/generate/resolve"
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/ui/tui/cliconfig"

	"github.com/tmnotes/tmnotes/runner"
)

// ErrNoProject is returned by [Load] and [StackAt] for a directory that is
// neither in a git work tree nor below a Terramate root configuration.
var ErrNoProject = errors.New("no Terramate project here: run inside a git repository (git init), or in a folder below a Terramate configuration with terramate.required_version")

// Options say which project to load, and how much of it.
type Options struct {
	// Dir is the working directory, after --chdir; the process's own if empty.
	// What is selected is what lies at or below it.
	Dir string

	// Terragrunt loads the Terragrunt modules too. Stock Terramate does so for
	// --changed and for dependency filters; see [Selection.Terragrunt].
	Terragrunt bool

	// Inputs says that Project.Inputs is going to be asked for: what it needs is
	// read meanwhile.
	Inputs bool

	// Environ is the environment of what is run in the stacks, and what scripts know
	// as env. Where neither is asked for, it may be left out.
	Environ []string

	// Memory, if set, spares Project.Inputs what it did before.
	Memory Memory
}

// A Project is one loaded Terramate project. It is a snapshot: files that
// change later are not looked at again.
type Project struct {
	engine     *engine.Engine
	bindings   *di.Bindings
	wd         string
	terragrunt bool
	checked    bool // the engine knows the untracked and uncommitted files

	ahead  <-chan *code // of HEAD, see code.go
	memory Memory

	environ []string // of what is run in the stacks

	known *Inputs // of HEAD, once they were asked for

	looked      time.Time // before git status was asked
	changesOnce sync.Once // what git status says, see dirty.go
	changed     changes
	changedErr  error

	mu      sync.Mutex
	outputs map[outputsKey]*outputs
}

// SetLogLevel sets how much Terramate's packages log on stderr: "disabled",
// "trace", "debug", "info", "warn", "error" or "fatal", as its --log-level.
// Without a call it is "fatal".
func SetLogLevel(level string) error {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return fmt.Errorf("unknown log level %q: use disabled, trace, debug, info, warn, error or fatal", level)
	}
	zerolog.SetGlobalLevel(l)
	return nil
}

// SetLogOutput sets the form and the place of these logs, as Terramate's --log-fmt
// (console, text, json) and --log-destination (stderr, stdout); "" is the first of each.
func SetLogOutput(format, destination string) error {
	if format == "" && destination == "" {
		return nil // as it is
	}
	out := os.Stderr
	switch destination {
	case "", "stderr":
	case "stdout":
		out = os.Stdout
	default:
		return fmt.Errorf("--log-destination: %q is neither stderr nor stdout", destination)
	}
	switch format {
	case "", "console", "text": // colours are for the commands
		log.Logger = log.Output(zerolog.ConsoleWriter{Out: out, NoColor: true})
	case "json":
		log.Logger = log.Output(out)
	default:
		return fmt.Errorf("--log-fmt: %q is not one of console, text, json", format)
	}
	return nil
}

// zerolog's default is JSON lines from debug on; nothing of that is for users.
func init() {
	zerolog.SetGlobalLevel(zerolog.FatalLevel)
	log.Logger = log.Output(zerolog.ConsoleWriter{Out: os.Stderr, NoColor: true})
}

// Load loads the project that Options.Dir is in, exactly as stock Terramate
// does (engine.Load): with the stacks, the YAML configuration, the stacks of
// bundles, and terramate.required_version checked (ui/tui, checkEngineInvariants).
//
// The error is [ErrNoProject] where there is no project. A configuration that
// does not parse is an error that names every place, joined with "; ".
func Load(ctx context.Context, opt Options) (*Project, error) {
	wd, err := workingDir(opt.Dir)
	if err != nil {
		return nil, err
	}
	cfg, err := userConfig()
	if err != nil {
		return nil, err
	}
	var ahead <-chan *code
	if opt.Inputs {
		ahead = readAhead(ctx, wd, opt.Memory)
	}
	bindings := di.NewBindings(context.Background())
	if err := errors.Join(
		di.Bind(bindings, resolve.NewAPI(filepath.Join(cfg.UserTerramateDir, "package_cache"))),
		di.Bind(bindings, generate.NewAPI()),
		di.Validate(bindings),
		di.InitAll(bindings),
	); err != nil {
		return nil, oneLine("setting up Terramate", err)
	}
	e, found, err := loadEngine(di.WithBindings(ctx, bindings), wd, opt.Terragrunt, cfg)
	if err != nil {
		return nil, oneLine("loading the Terramate project", err)
	}
	if !found {
		return nil, ErrNoProject
	}
	version := requiredversion.Spec{Version: terramate.Version(), Root: e.Config()}
	if err := version.Exec(ctx); err != nil {
		return nil, oneLine("checking terramate.required_version", err)
	}
	p := &Project{
		engine:     e,
		bindings:   bindings,
		wd:         wd,
		terragrunt: opt.Terragrunt,
		outputs:    map[outputsKey]*outputs{},
		ahead:      ahead,
		memory:     opt.Memory,
		environ:    opt.Environ,
	}
	p.warm()
	if opt.Inputs {
		go func() { _, _ = p.changes() }()
	}
	return p, nil
}

// warm checks the stacks in the background, which Terramate would do one after
// the other (a regular expression is compiled for each): there is time while
// git is asked for changes. An error is not kept; whoever needs the stack gets it.
func (p *Project) warm() {
	var trees []*config.Tree
	var visit func(*config.Tree)
	visit = func(tree *config.Tree) {
		if tree.IsStack() {
			trees = append(trees, tree)
		}
		for _, child := range tree.Children {
			visit(child)
		}
	}
	visit(p.root().Tree())
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(trees)) {
		go func() {
			for i := next.Add(1) - 1; i < int64(len(trees)); i = next.Add(1) - 1 {
				_, _ = trees[i].Stack()
			}
		}()
	}
}

// workingDir is dir as stock Terramate sees its working directory: absolute,
// without symbolic links (ui/tui, setWorkingDirectory).
func workingDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	wd, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	st, err := os.Stat(wd)
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	if !st.IsDir() {
		return "", fmt.Errorf("working directory: %s is not a directory", abs)
	}
	return wd, nil
}

// userConfig is the user's Terramate configuration file, of which only the
// folder for fetched packages matters here (ui/tui, loadUserConfig). Where that
// folder cannot be known, packages are looked for in a temporary one: a user
// without a home, as in many containers, needs none.
func userConfig() (cliconfig.Config, error) {
	cfg, err := cliconfig.Load()
	if err != nil {
		return cfg, oneLine("loading the Terramate CLI configuration", err)
	}
	if cfg.UserTerramateDir != "" {
		return cfg, nil
	}
	folder := os.UserHomeDir
	if runtime.GOOS == "windows" {
		folder = os.UserConfigDir
	}
	base, err := folder()
	if err != nil || base == "" {
		base = os.TempDir()
	}
	cfg.UserTerramateDir = filepath.Join(base, ".terramate.d")
	return cfg, nil
}

// Root returns the absolute path of the project's top folder, without symbolic
// links. In a git repository it is the top of the work tree.
func (p *Project) Root() string { return p.root().HostDir() }

// top is [Project.Root] for git.
func (p *Project) top() workTree { return workTree{dir: p.Root()} }

// Dir returns the working directory that the project was loaded from, absolute
// and without symbolic links.
func (p *Project) Dir() string { return p.wd }

// IsRepo reports whether the project is a git work tree.
func (p *Project) IsRepo() bool { return p.engine.Project().IsRepo() }

// DefaultRemote returns terramate.config.git.default_remote, or "origin".
func (p *Project) DefaultRemote() string { return p.engine.Project().GitConfig().DefaultRemote }

// DefaultBranch returns terramate.config.git.default_branch, or "main".
func (p *Project) DefaultBranch() string { return p.engine.Project().GitConfig().DefaultBranch }

// All returns every stack of the project, in the order of their paths, whatever
// the working directory. Two stacks with one id are an error that names both.
func (p *Project) All() ([]runner.Stack, error) {
	report, err := p.engine.StackManager().List(false)
	if err != nil {
		return nil, oneLine("listing stacks", err)
	}
	stacks := make([]runner.Stack, len(report.Stacks))
	for i, entry := range report.Stacks {
		stacks[i] = p.stack(entry.Stack)
	}
	return stacks, nil
}

func (p *Project) root() *config.Root { return p.engine.Config() }

// stack is st as package runner knows it.
func (p *Project) stack(st *config.Stack) runner.Stack {
	return newStack(p.Root(), st.Dir.String(), st.ID, st.Name, st.Tags)
}

func newStack(root, dir, id, name string, tags []string) runner.Stack {
	return runner.Stack{
		Path: dir,
		ID:   strings.ToLower(id),
		Name: name,
		Dir:  filepath.Join(root, filepath.FromSlash(dir)),
		Tags: tags,
	}
}

// config is the tree and the loaded stack of s.
func (p *Project) config(s runner.Stack) (*config.Tree, *config.Stack, error) {
	if strings.HasPrefix(s.Path, "/") && path.Clean(s.Path) == s.Path {
		if tree, ok := p.root().Lookup(tmproject.NewPath(s.Path)); ok && tree.IsStack() {
			st, err := tree.Stack()
			if err != nil {
				return nil, nil, oneLine("stack "+s.Path, err)
			}
			return tree, st, nil
		}
	}
	return nil, nil, fmt.Errorf("stack %s: not in the project at %s", s.Path, p.Root())
}

// oneLine is err in one line with what was being done in front. Terramate's
// errors may be lists, of which Error shows the first only, and HCL's messages
// have several lines. It keeps err for errors.Is and errors.As.
func oneLine(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &lineError{text: doing + ": " + strings.Join(messages(err), "; "), err: err}
}

type lineError struct {
	text string
	err  error
}

func (e *lineError) Error() string { return e.text }
func (e *lineError) Unwrap() error { return e.err }

// gitFailure is how Terramate writes that its git failed, in errors that do not unwrap to it:
// what git printed stands there as a string of Go's.
var gitFailure = regexp.MustCompile(`failed to exec: (?:\S*git|\S*git\.exe) (\S+).*? : stderr=("(?:[^"\\]|\\.)*"), stdout="(?:[^"\\]|\\.)*"`)

// gitsWords is the text of err with what git printed as git printed it.
func gitsWords(err error) string {
	return gitFailure.ReplaceAllStringFunc(err.Error(), func(failed string) string {
		part := gitFailure.FindStringSubmatch(failed)
		lines := strings.FieldsFunc(gitPrinted(failed), func(r rune) bool { return r == '\n' || r == '\r' })
		return "git " + part[1] + ": " + cmp.Or(strings.Join(lines, "; "), "it failed")
	})
}

// gitPrinted is what Terramate's git printed to stderr, "" if it was not that which failed.
func gitPrinted(failed string) string {
	part := gitFailure.FindStringSubmatch(failed)
	if part == nil {
		return ""
	}
	printed, err := strconv.Unquote(part[2])
	if err != nil {
		return part[2]
	}
	return printed
}

// messages are the texts of the errors in err, each once.
func messages(err error) []string {
	var texts []string
	var walk func(error)
	walk = func(err error) {
		var list *tmerrors.List
		switch {
		case err == nil:
			return
		case errors.As(err, &list) && len(list.Errors()) > 1:
			for _, e := range list.Errors() {
				walk(e)
			}
			return
		}
		text := strings.Join(strings.Fields(gitsWords(err)), " ")
		for _, t := range texts {
			if t == text {
				return
			}
		}
		texts = append(texts, text)
	}
	walk(err)
	return texts
}
