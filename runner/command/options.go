package command

import (
	"slices"
	"strconv"
	"strings"
)

// call is a command line of Terraform, OpenTofu or Terragrunt, taken apart.
type call struct {
	global        []string // options before the subcommand, in normal form
	sub           string
	args          []string // after the subcommand
	help, version bool
	many          bool   // Terragrunt runs it in several units
	problem       string // what is not understood
	terragrunt    terragruntDirs
}

// chdir is the folder that a call works in, as seen from the stack; "" for the stack's own.
func (c call) chdir() (dir string) {
	for _, w := range c.global {
		if value, is := strings.CutPrefix(w, "-chdir="); is {
			dir = value
		}
	}
	return dir
}

// files are those that a call reads because its arguments name them, with those that the
// environment adds.
func (c call) files(e environment) (files []file) {
	args, _ := e.args(c.sub)
	p := parseOptions(append(args, c.args...))
	for _, o := range p.list {
		switch {
		case o.name == "var-file" && o.value != "":
			files = append(files, file{KindVarFile, c.chdir(), o.value})
		case o.name == "backend-config" && o.value != "" && !strings.Contains(o.value, "="):
			files = append(files, file{KindBackendConfig, c.chdir(), o.value})
		}
	}
	if c.sub == "apply" && len(p.rest) == 1 {
		files = append(files, file{KindPlan, c.chdir(), p.rest[0]})
	}
	return files
}

// applies reports whether a call changes what is deployed, whole or in part.
func (c call) applies() bool { return c.sub == "apply" || c.sub == "destroy" || c.many }

// terraformCall reads the arguments of terraform (1.11) or tofu (1.12). Options
// before the subcommand can only be -chdir=DIR, -help and -version.
func terraformCall(args []string) call {
	var c call
	for i, w := range args {
		switch {
		case !strings.HasPrefix(w, "-"):
			c.sub, c.args = w, args[i+1:]
			return c
		case isHelp(w):
			c.help = true
		case isVersion(w):
			c.version = true
		case strings.HasPrefix(w, "-chdir="):
			c.global = append(c.global, w)
		default:
			c.global = append(c.global, w)
			c.problem = "option " + w + " is not understood"
		}
	}
	return c
}

func isHelp(w string) bool { return w == "-h" || w == "-help" || w == "--help" }

func isVersion(w string) bool { return w == "-v" || w == "-version" || w == "--version" }

// Terragrunt's own flags (terragrunt.gruntwork.io/docs/reference/cli, 0.45 to 0.9x),
// of which the older ones start with --terragrunt-. They may stand before and
// after the subcommand.
var (
	terragruntSwitches = set(`backend-bootstrap backend-require-bootstrap debug dependency-fetch-output-from-state
		disable-bucket-update disable-command-validation experiment-mode fail-on-state-bucket-creation
		fetch-dependency-output-from-state forward-tf-stdout ignore-dependency-errors ignore-dependency-order
		ignore-external-dependencies include-external-dependencies include-module-prefix inputs-debug json-log log-disable
		log-show-abs-paths no-auto-approve no-auto-init no-auto-provider-cache-dir no-auto-retry no-color
		no-destroy-dependencies-check no-tips non-interactive provider-cache source-update strict-mode summary-disable
		tf-forward-stdout tf-logs-to-json use-partial-parse-config-cache`)
	terragruntValues = set(`auth-provider-cmd config download-dir experiment feature iam-assume-role
		iam-assume-role-duration iam-assume-role-session-name iam-assume-role-web-identity-token iam-role
		iam-web-identity-token log-custom-format log-format log-level parallelism provider-cache-dir
		provider-cache-hostname provider-cache-port provider-cache-registry-names provider-cache-token source source-map
		strict-control tf-path tfpath working-dir`)
	// Those that cannot matter to the result.
	terragruntImmaterial = set(`forward-tf-stdout include-module-prefix json-log log-custom-format log-disable log-format
		log-level log-show-abs-paths no-auto-approve no-color no-tips non-interactive parallelism summary-disable
		tf-forward-stdout tf-logs-to-json`)
	terragruntMany = set(`run-all plan-all apply-all destroy-all output-all validate-all stack graph`)
)

// terragruntCall reads the arguments of terragrunt, old style (terragrunt apply) and
// new (terragrunt run -- apply).
func terragruntCall(args, env []string) call {
	var c call
	for _, kv := range env {
		if k, v, _ := strings.Cut(kv, "="); k == "TG_ALL" || k == "TG_GRAPH" {
			if on, err := strconv.ParseBool(v); err != nil || on {
				c.many = true
			}
		}
	}
	ran := false
	for i := 0; i < len(args); i++ {
		w := args[i]
		name, value, hasValue := strings.Cut(strings.TrimPrefix(strings.TrimLeft(w, "-"), "terragrunt-"), "=")
		long := strings.HasPrefix(w, "--") && len(w) > 2
		switch {
		case w == "--" && c.sub == "":
			if rest := args[i+1:]; len(rest) > 0 {
				c.sub, c.args = rest[0], rest[1:]
			}
			return c
		case w == "--":
			c.args = append(c.args, args[i+1:]...)
			return c
		case w == "-a" || long && (name == "all" || name == "graph"):
			c.many = true
		case long && (terragruntSwitches[name] || terragruntValues[name]):
			if terragruntValues[name] && !hasValue && i+1 < len(args) {
				i++
				value, hasValue = args[i], true
			}
			switch name {
			case "working-dir":
				c.terragrunt.workingDir = value
			case "download-dir":
				c.terragrunt.downloadDir = value
			}
			if !terragruntImmaterial[name] {
				c.global = append(c.global, option{name: name, value: value, hasValue: hasValue}.String())
			}
		case isHelp(w):
			c.help = true
		case isVersion(w):
			c.version = true
		case c.sub != "":
			c.args = append(c.args, w)
		case strings.HasPrefix(w, "-"):
			c.global = append(c.global, w)
			c.problem = "option " + w + " is not understood"
		case w == "run" && !ran:
			ran = true
		case terragruntMany[w]:
			c.many, c.sub = true, w
		default:
			c.sub = w
		}
	}
	return c
}

// Options of Terraform 1.11's and OpenTofu 1.12's apply and destroy, and those of
// other subcommands that have a value. Go's flag package reads them: one dash or
// two, "-name=value" or, where it is no switch, "-name value".
var (
	switches = set(`auto-approve compact-warnings concise consolidate-errors consolidate-warnings destroy input json lock
		no-color refresh refresh-only show-sensitive suppress-forget-errors`)
	values = set(`backup deprecation exclude exclude-file json-into lock-timeout parallelism replace state state-out target
		target-file var var-file`)
	otherValues = set(`backend-config config from-module generate-config-out ignore-remote-version out plugin-dir`)
	// Those that cannot matter to the result.
	immaterial = set(`auto-approve compact-warnings concise consolidate-errors consolidate-warnings deprecation input json
		json-into lock lock-timeout no-color parallelism show-sensitive`)
	partOptions = []string{"target", "target-file", "exclude", "exclude-file"}
)

type option struct {
	name, value string
	hasValue    bool
}

// String is the normal form.
func (o option) String() string {
	switch {
	case switches[o.name]:
		on := true
		if o.hasValue {
			var err error
			if on, err = strconv.ParseBool(o.value); err != nil {
				break
			}
		}
		return "-" + o.name + "=" + strconv.FormatBool(on)
	case !o.hasValue:
		return "-" + o.name
	}
	return "-" + o.name + "=" + o.value
}

// options are the arguments of a subcommand.
type options struct {
	list    []option
	rest    []string // from the first one that is no option
	problem string   // the first option that is not understood
}

func parseOptions(args []string) options {
	var p options
	for len(args) > 0 {
		w := args[0]
		if len(w) < 2 || w[0] != '-' {
			break
		}
		args = args[1:]
		if w == "--" {
			break
		}
		var o option
		o.name, o.value, o.hasValue = strings.Cut(strings.TrimPrefix(w[1:], "-"), "=")
		takesValue := values[o.name] || otherValues[o.name]
		if takesValue && !o.hasValue && len(args) > 0 {
			o.value, o.hasValue, args = args[0], true, args[1:]
		}
		valid := switches[o.name] || values[o.name] && o.hasValue
		if switches[o.name] && o.hasValue {
			_, err := strconv.ParseBool(o.value)
			valid = err == nil
		}
		if !valid && p.problem == "" {
			p.problem = "option " + w + " is not understood"
		}
		p.list = append(p.list, o)
	}
	p.rest = args
	return p
}

// words are the arguments in normal form, without what cannot matter.
func (p options) words() (words []string) {
	for _, o := range p.list {
		if !immaterial[o.name] {
			words = append(words, o.String())
		}
	}
	if len(p.rest) > 0 {
		words = append(append(words, "--"), p.rest...)
	}
	return words
}

// plainWords are words without secrets.
func (p options) plainWords() (words []string) {
	for i := range p.list {
		if o := p.list[i]; o.name == "var" || o.name == "backend-config" {
			o.value = plainPair(o.value)
			words = append(words, o.String())
		} else if !immaterial[o.name] {
			words = append(words, o.String())
		}
	}
	if len(p.rest) > 0 {
		words = append(append(words, "--"), p.rest...)
	}
	return words
}

// isTrue says whether a switch is on; the last one wins.
func (p options) isTrue(name string) bool {
	for _, o := range slices.Backward(p.list) {
		if o.name == name {
			return o.String() == "-"+name+"=true"
		}
	}
	return false
}

// firstOf returns the first of names that is among the options, or "".
func (p options) firstOf(names []string) string {
	for _, o := range p.list {
		if slices.Contains(names, o.name) {
			return o.name
		}
	}
	return ""
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}
