//go:build unix

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Where a pipeline of the simulated year deploys to, and with which values beside what is
// committed: what Terraform keeps in its data directory, what the environment says, and
// files that git ignores.

// surroundings are those of a target at the moment.
type surroundings struct {
	workspace, backend string // as chosen by `terraform workspace select` and `terraform init`
	tag                string // TF_VAR_tag
	local              string // local.auto.tfvars
	made               string // made.tf, which a generator wrote
}

// place names what the stacks are written to.
func (s surroundings) place(target string) string {
	return fmt.Sprintf("%s+%s@%s", target, s.workspace, s.backend)
}

// values are what provision finds beside what is committed.
func (s surroundings) values() string {
	return "|" + s.tag + "|" + or(s.local, "-") + "|" + or(s.made, "-")
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// yearInit is the part of provision that does as `terraform init` where that was not done,
// and reads where Terraform would write to.
const yearInit = `
if ! test -d .terraform; then
	mkdir .terraform
	test -z "$INIT_WORKSPACE" || printf %s "$INIT_WORKSPACE" >.terraform/environment
	test -z "$INIT_BACKEND" || printf '{"version":3,"backend":{"type":"s3","config":{"bucket":"%s","key":"state","secret_key":"x"},"hash":1}}' "$INIT_BACKEND" >.terraform/terraform.tfstate
fi
workspace=
if test -e .terraform/environment; then read -r workspace <.terraform/environment || :; fi
backend=
if test -e .terraform/terraform.tfstate; then
	read -r backend <.terraform/terraform.tfstate || :
	backend=${backend#*'"bucket":"'}
	backend=${backend%%'"'*}
fi
place=$TARGET+$workspace@$backend
`

// environment writes what run.env gives to every stack.
func (y *year) environment(value string) {
	y.Helper()
	y.write("env.tm", value, fmt.Sprintf("globals {\n  env = %q\n}\nterramate {\n  config {\n    run {\n      env {\n        TF_VAR_env = global.env\n      }\n    }\n  }\n}\n", value))
}

// surround puts a pipeline's clone in the surroundings of its target, as its CI does.
func (y *year) surround(p *pipeline) {
	y.Helper()
	put := func(name, text string) {
		name = y.path(p.clone, name)
		err := os.Remove(name)
		if text != "" {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil && !os.IsNotExist(err) {
			y.Fatal(err)
		}
	}
	for _, s := range yearPaths {
		data := s + "/.terraform"
		if err := errors.Join(os.RemoveAll(y.path(p.clone, data)), os.MkdirAll(y.path(p.clone, data), 0o755)); err != nil {
			y.Fatal(err)
		}
		put(data+"/environment", p.workspace)
		if p.backend != "" {
			put(data+"/terraform.tfstate", fmt.Sprintf(`{"version":3,"backend":{"type":"s3","config":{"bucket":%q,"key":"state","secret_key":%q},"hash":1}}`, p.backend, fmt.Sprint(y.random.Int()))+"\n")
		}
		line := func(text string) string {
			if text != "" {
				text += "\n"
			}
			return text
		}
		put(s+"/local.auto.tfvars", line(p.local))
		put(s+"/made.tf", line(p.made))
		if p.fresh {
			if err := os.RemoveAll(y.path(p.clone, data)); err != nil {
				y.Fatal(err)
			}
		}
	}
}

// moves changes the surroundings of a target now and then.
func (y *year) moves() {
	y.version++
	target := yearTargets[y.random.IntN(len(yearTargets))]
	a, v := y.around[target], fmt.Sprintf("# %d", y.version)
	switch y.random.IntN(14) {
	case 0, 1:
		a.workspace = []string{"", "blue", "green"}[y.random.IntN(3)]
		y.happened["workspaces"]++
	case 2:
		a.backend = []string{"", "one", "two"}[y.random.IntN(3)]
		y.happened["backends"]++
	case 3:
		a.tag = []string{"", "1.0", v}[y.random.IntN(3)]
		y.happened["values"]++
	case 4:
		a.local = []string{"", fmt.Sprintf("local = %d", y.version)}[y.random.IntN(2)] // a value: comments are none
		y.happened["values"]++
	case 5:
		a.made = []string{"", v}[y.random.IntN(2)]
		y.happened["ignored code"]++
	}
	y.around[target] = a
}

// everywhere reports whether every stack was deployed to the pipeline's place before: a
// clone that was never initialised can only assume a place that is recorded.
func (y *year) everywhere(p *pipeline) bool {
	for _, s := range yearPaths {
		if y.of(p, s).at < 0 {
			return false
		}
	}
	return true
}

// others is what is deployed at the other places of the target, which a pipeline whose
// clone was never initialised might be about to write to.
func (y *year) others(p *pipeline, stack string) (all []*deployed) {
	for at, d := range y.real {
		if p.fresh && strings.HasPrefix(at, p.target+"+") && strings.HasSuffix(at, stack) && at != p.place(p.target)+stack {
			all = append(all, d)
		}
	}
	return all
}

// elsewhere reports whether the stack is to be deployed at another place.
func (y *year) elsewhere(p *pipeline, stack string) bool {
	return slices.ContainsFunc(y.others(p, stack), func(d *deployed) bool {
		return d.content != y.want(p, stack) || d.half || d.owed || d.unsure
	})
}

// applied is what the state of a stack says that is deployed.
func (y *year) applied(p *pipeline, stack string) string {
	y.Helper()
	b, err := os.ReadFile(y.path("states", p.place(p.target)+stack, "state"))
	if err != nil && !os.IsNotExist(err) {
		y.Fatal(err)
	}
	return strings.TrimSuffix(string(b), "\n")
}

// cache brings the cache up to date, or leaves it, and reports whether what it has of the
// notes is old, and news to the clone that reads from it.
func (y *year) cache(clone string, refresh bool) (stale bool) {
	y.Helper()
	// What could not be pushed to the shared ref is nobody's to see there.
	if refresh || y.run("work.git", "git", "for-each-ref", "refs/notes/tmnotes-spool") != "" {
		y.run("cache.git", "git", "fetch", "-q")
		y.cached = len(y.mains) - 1
	}
	notes := func(repo string) string { return y.run(repo, "git", "for-each-ref", "refs/notes/tmnotes") }
	if notes("cache.git") == notes("work.git") {
		return false
	}
	tip := y.run("work.git", "git", "rev-parse", "refs/notes/tmnotes")
	return y.command(clone, "git", "merge-base", "--is-ancestor", strings.TrimSpace(tip), "refs/notes/tmnotes").Run() != nil
}

// about is what a person would look at to find out why a stack was left alone.
func (y *year) about(p *pipeline, stack string) string {
	y.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "place %s, values %s, not initialised %v\n", p.place(p.target), p.values(), p.fresh)
	for line := range strings.Lines(y.run(p.clone, "git", "log", "--all", "--notes=tmnotes", "--format=%H%n%N")) {
		if strings.Contains(line, " stack="+stack+" ") && strings.Contains(line, " target="+p.target) {
			b.WriteString(line)
		}
	}
	return b.String()
}
