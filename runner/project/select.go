package project

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/terramate-io/terramate/cloud/api/resources"
	"github.com/terramate-io/terramate/config"
	"github.com/terramate-io/terramate/engine"
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/stack"

	"github.com/tmnotes/tmnotes/runner"
)

// DependencyFilters are Terramate's --include-…, --only-… and --exclude-…
// filters over the dependencies between stacks, one field each.
type DependencyFilters = engine.DependencyFilters

// A Selection says which stacks are meant, in the words of `terramate run` and
// `terramate list`. The zero Selection is every stack at or below the working
// directory.
type Selection struct {
	Changed    bool   // --changed: only what differs from the base
	ChangeBase string // --git-change-base: the revision to compare with; empty for Terramate's choice

	// --enable-change-detection and --disable-change-detection: any of
	// "git-untracked" and "git-uncommitted".
	EnableChangeDetection, DisableChangeDetection []string

	Tags, NoTags []string // --tags and --no-tags, one element for each time the flag was given

	// Keep, if set, is a filter on what is not in the files: of the stacks that the
	// fields above select it returns those that are meant, where Terramate asks its
	// cloud: before wants and the dependency filters add others.
	Keep func([]runner.Stack) ([]runner.Stack, error)

	AnyFiles     bool              // untracked and uncommitted files are in nobody's way: [Safeguards.AnyFiles]
	NoRecursive  bool              // --no-recursive: the stack in the working directory alone
	Dependencies DependencyFilters // applied last
	Target       string            // terramate.target while from_stack_id is evaluated; see [ValidTarget]
}

// Terragrunt reports whether stock Terramate loads the Terragrunt modules for
// such a selection: what to set [Options.Terragrunt] to.
func (sel Selection) Terragrunt() bool {
	return sel.Changed || sel.Dependencies.HasDependencyFilters()
}

// A Selected is a stack with the reason why it was selected, in the words of
// `terramate list --why`. The reason is empty without Selection.Changed, and
// for stacks that wants or a dependency filter added.
type Selected struct {
	runner.Stack
	Reason string
}

// outputs reports whether stacks are added by the outputs that others take (sharing).
func (sel *Selection) outputs() bool {
	//lint:ignore SA1019 Terramate deprecates the two filters and takes them all the same
	return sel.Dependencies.IncludeOutputDependencies || sel.Dependencies.OnlyOutputDependencies
}

// NeedsTarget is the error for what was asked of the state of a project that has targets, without one
// (engine.CheckTargetsConfiguration).
func (p *Project) NeedsTarget(target string) error {
	if target != "" || !p.root().HasExperiment("targets") || !p.root().IsTargetsEnabled() {
		return nil
	}
	return errors.New("--target is required where terramate.config.cloud.targets.enabled is true")
}

// ValidTarget returns an error for a target that Terramate would refuse
// (engine.CheckTargetsConfiguration). The empty target is valid: there is none.
func ValidTarget(target string) error {
	if target == "" || targetID.MatchString(target) {
		return nil
	}
	return fmt.Errorf("target %q: use lower-case letters and digits, with - and _ in between, two characters or more", target)
}

var targetID = regexp.MustCompile(`^[a-z0-9][-_a-z0-9]*[a-z0-9]$`)

// Select returns the stacks that `terramate run` would run in, those that are
// wanted by others included (stack.wants, stack.wanted_by), in the order of
// Terramate's selection; [Project.Graph] gives the order in which they run.
func (p *Project) Select(sel Selection) ([]Selected, error) {
	if sel.NoRecursive {
		return p.selectHere(sel)
	}
	entries, err := p.entries(sel, !sel.AnyFiles)
	if err == nil {
		entries, err = p.kept(sel, entries)
	}
	if err != nil {
		return nil, err
	}
	stacks, err := p.wanted(entries)
	if err != nil {
		return nil, oneLine("selecting stacks", err)
	}
	return p.selected(sel, entries, stacks)
}

// List returns the stacks that `terramate list` would list, sorted by path: as
// [Project.Select] without those that are only wanted by others. What an output filter adds
// comes last, as it does there.
// Selection.NoRecursive, which `terramate list` has not, is as in Select.
func (p *Project) List(sel Selection) ([]Selected, error) {
	if sel.NoRecursive {
		return p.selectHere(sel)
	}
	entries, err := p.entries(sel, false)
	if err == nil {
		entries, err = p.kept(sel, entries)
	}
	if err != nil {
		return nil, err
	}
	selected, err := p.selected(sel, entries, sortable(entries))
	if !sel.outputs() {
		slices.SortFunc(selected, func(a, b Selected) int { return strings.Compare(a.Path, b.Path) })
	}
	return selected, err
}

// entries are the stacks by changes, working directory and tags. With
// checkFiles the engine looks for untracked and uncommitted files too, which
// it always does for changes.
func (p *Project) entries(sel Selection, checkFiles bool) ([]stack.Entry, error) {
	git, err := engine.NewGitFilter(sel.Changed, sel.ChangeBase, sel.EnableChangeDetection, sel.DisableChangeDetection)
	if err != nil {
		return nil, oneLine("selecting stacks", err)
	}
	tags, err := engine.ParseFilterTags(sel.Tags, sel.NoTags)
	if err != nil {
		return nil, oneLine("selecting stacks", err)
	}
	if sel.Changed && !p.IsRepo() {
		return nil, errors.New("--changed needs a git repository: run git init, or leave out --changed")
	}
	if sel.Changed && !p.engine.Project().HasCommits() {
		return nil, errors.New("--changed needs a repository with at least two commits (in a shallow clone: git fetch --unshallow): leave out --changed, or make a second commit")
	}
	if sel.Changed && sel.ChangeBase != "" {
		if _, err := p.engine.Project().Git.Wrapper.RevParse(sel.ChangeBase); err != nil {
			return nil, fmt.Errorf("--git-change-base: %q is not a revision in this clone; `git fetch` may bring it (in a shallow clone: git fetch --unshallow)", sel.ChangeBase)
		}
	}
	report, err := p.engine.ListStacks(git, sel.Target, resources.NoStatusFilters(), checkFiles)
	if err != nil {
		return nil, oneLine("selecting stacks", err)
	}
	p.checked = checkFiles || sel.Changed
	entries, err := p.engine.FilterStacks(report.Stacks, engine.ByWorkingDir(), engine.ByTagsClause(tags))
	return entries, oneLine("selecting stacks", err)
}

// kept are the entries that Selection.Keep keeps.
func (p *Project) kept(sel Selection, entries []stack.Entry) ([]stack.Entry, error) {
	if sel.Keep == nil {
		return entries, nil
	}
	stacks := make([]runner.Stack, len(entries))
	for i, entry := range entries {
		stacks[i] = p.stack(entry.Stack)
	}
	kept, err := sel.Keep(stacks)
	if err != nil {
		return nil, err
	}
	is := make(map[string]bool, len(kept))
	for _, s := range kept {
		is[s.Path] = true
	}
	return slices.DeleteFunc(slices.Clone(entries), func(entry stack.Entry) bool { return !is[entry.Stack.Dir.String()] }), nil
}

// selectHere is the selection of --no-recursive (commands/run, Exec).
func (p *Project) selectHere(sel Selection) ([]Selected, error) {
	if _, err := p.All(); err != nil {
		return nil, err // two stacks with one id, which stock does not see here
	}
	st, found, err := config.TryLoadStack(p.root(), tmproject.PrjAbsPath(p.Root(), p.wd))
	if err != nil {
		return nil, oneLine("loading the stack in "+p.wd, err)
	}
	if !found {
		return nil, fmt.Errorf("--no-recursive: %s is not a stack; change into one, or leave out --no-recursive", p.wd)
	}
	entries, err := p.kept(sel, []stack.Entry{{Stack: st}})
	if err != nil {
		return nil, err
	}
	return p.selected(sel, nil, sortable(entries))
}

// wanted adds the stacks that the entries want. Terramate builds a graph of the
// whole project for it, even where no stack wants anything.
func (p *Project) wanted(entries []stack.Entry) (config.List[*config.SortableStack], error) {
	all, err := p.engine.StackManager().List(false)
	if err != nil {
		return nil, err
	}
	for _, entry := range all.Stacks {
		if len(entry.Stack.Wants) > 0 || len(entry.Stack.WantedBy) > 0 {
			return p.engine.StackManager().AddWantedOf(sortable(entries))
		}
	}
	return sortable(entries), nil
}

func sortable(entries []stack.Entry) config.List[*config.SortableStack] {
	stacks := make(config.List[*config.SortableStack], len(entries))
	for i, entry := range entries {
		stacks[i] = entry.Stack.Sortable()
	}
	return stacks
}

// selected applies the dependency filters and adds the reasons.
func (p *Project) selected(sel Selection, entries []stack.Entry, stacks config.List[*config.SortableStack]) ([]Selected, error) {
	stacks, err := p.engine.ApplyDependencyFilters(sel.Dependencies, stacks, sel.Target)
	if err != nil {
		return nil, oneLine("selecting stacks", err)
	}
	reasons := make(map[string]string, len(entries))
	for _, entry := range entries {
		reasons[entry.Stack.Dir.String()] = entry.Reason
	}
	selected := make([]Selected, len(stacks))
	for i, st := range stacks {
		selected[i] = Selected{Stack: p.stack(st.Stack), Reason: reasons[st.Dir().String()]}
	}
	return selected, nil
}
