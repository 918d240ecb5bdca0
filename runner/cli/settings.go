package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/telemetry"
	"github.com/tmnotes/tmnotes/runner"
)

// setting is a row of settings: its flag, variables, key, help and line in the manual are
// made of it. Its value is that of the flag, else of a variable, of git's configuration, of
// gitstate.ConfigFile, or the default.
type setting struct {
	name      string // pushInterval: tmnotes.pushInterval, --push-interval, TMNOTES_PUSH_INTERVAL
	was       string // an older name, which still works
	short     string // j: -j
	variables []string
	kind      kind
	def       string // the default, as it would be typed
	defText   string // says what happens by default, where that is no value
	meaning   string // one line; the word in `backquotes` stands for the value
	noFlag    bool   // nor variables
	noConfig  bool   // neither in git's configuration nor in gitstate.ConfigFile
	inFile    inFile
}

type kind int

const (
	aText kind = iota
	aDuration
	aNumber
	yesOrNo
	aList // several flags, several lines of configuration, or one variable with blanks between
	aPattern
)

// inFile is what gitstate.ConfigFile may say, which any branch could change.
type inFile int

const (
	anyValue inFile = iota
	notOff
	noValue
)

var settings = newSettings()

type settingsTable struct {
	all []*setting // in the order in which they are listed

	ref, remote, sync, pushInterval, locks, onLocked, lease, staleAfter, networkTimeout *setting
	keepLogs, listen, tokenFile, parallel, retry, retryOn, timeout, output              *setting
	wave, maxFailures, maxDestroy, soak, gate, onChange, report, metricsStacks          *setting
	op, planFile, target, run, pending, sign, committer, message                        *setting
	signRecords, requireSigned, allowedSigners, repository, forge, forgeUrl             *setting
	issues, maxOpenIssues                                                               *setting
}

func newSettings() (t settingsTable) {
	add := func(o setting) *setting {
		if o.variables == nil && !o.noFlag {
			for _, name := range o.names() {
				o.variables = append(o.variables, "TMNOTES_"+strings.ToUpper(words(name, '_')))
			}
		}
		t.all = append(t.all, &o)
		return &o
	}
	t.ref = add(setting{name: "ref", inFile: noValue, def: gitstate.DefaultRef, meaning: "notes `REF` to read and write"})
	t.remote = add(setting{name: "remote", inFile: noValue, defText: "Terramate's default_remote (run, list, mark), else origin, else the only one",
		meaning: "`NAME` of the remote to sync with"})
	t.sync = add(setting{name: "sync", inFile: notOff, def: "auto",
		meaning: "`MODE` auto: sync deploy and destroy, and drift in CI, if there is a remote; off: nothing; require: every operation"})
	t.pushInterval = add(setting{name: "pushInterval", kind: aDuration, def: "10s",
		meaning: "push results every `DURATION`; 0: only at the start and the end"})
	t.locks = add(setting{name: "locks", was: "claims", inFile: notOff, def: "auto",
		meaning: "`MODE` auto: lock a stack on the remote while it is deployed or destroyed; off: lock nothing"})
	t.onLocked = add(setting{name: "onLocked", was: "onClaimed", def: "wait", meaning: "`WHAT` to do with a stack that another job has locked: wait, skip or fail"})
	t.lease = add(setting{name: "lease", kind: aDuration, def: "2m", meaning: "take over a lock that was not renewed for `DURATION`"})
	t.staleAfter = add(setting{name: "staleAfter", kind: aDuration, def: "6h", meaning: "treat a run as interrupted if it has not reported for `DURATION`"})
	t.networkTimeout = add(setting{name: "networkTimeout", kind: aDuration, def: "2m",
		meaning: "wait for the remote at most `DURATION`: for each fetch, each push, and all that is sent at the end of a run"})
	t.keepLogs = add(setting{name: "keepLogs", def: "failed",
		meaning: "keep the output of `WHICH` stacks beside the notes, without secrets: failed, all, or off for none"})
	t.listen = add(setting{name: "listen", noConfig: true, def: "127.0.0.1:3006", meaning: "listen on `ADDRESS`, HOST:PORT"})
	t.tokenFile = add(setting{name: "tokenFile", noConfig: true, defText: "tmnotes/serve-token in the git directory",
		meaning: "`FILE` with the token; created if it is missing"})
	t.parallel = add(setting{name: "parallel", short: "j", variables: []string{"TM_ARG_RUN_PARALLEL"}, kind: aNumber, def: "1", meaning: "run up to `N` independent stacks at once"})
	t.retry = add(setting{name: "retry", kind: aNumber, def: "0", meaning: "try a failed stack `N` more times, with growing pauses"})
	t.retryOn = add(setting{name: "retryOn", kind: aPattern, defText: "every failure", meaning: "retry only if a line of the output matches `REGEXP`"})
	t.timeout = add(setting{name: "timeout", kind: aDuration, meaning: "interrupt a stack after `DURATION`"})
	t.output = add(setting{name: "output", defText: "grouped in GitHub Actions and GitLab CI, live on a terminal with -j, else stream",
		meaning: "`HOW` to show the commands' output: live (above a view of what runs), grouped (one piece per stack), stream (as it comes) or quiet (only of stacks that fail)"})
	t.wave = add(setting{name: "wave", variables: []string{"TMNOTES_WAVES"}, kind: aList, defText: "one wave",
		meaning: "run stacks that match `FILTER` (tag:EXPR, /path/**, '*' for the rest) before those of the next --wave"})
	t.maxFailures = add(setting{name: "maxFailures", defText: "no limit, with waves 0",
		meaning: "start no more stacks after more than `N` failures in the run, or P% in a wave"})
	t.maxDestroy = add(setting{name: "maxDestroy", inFile: notOff, def: "off",
		meaning: "do not apply a saved plan that destroys or replaces more than `N` resources, nor anything that is no saved plan; off: no limit"})
	t.soak = add(setting{name: "soak", kind: aDuration, meaning: "wait for `DURATION` after each wave"})
	t.gate = add(setting{name: "gate", meaning: "after each wave and its --soak, run `CMD` in sh with the wave's records on stdin; if it fails, start no more stacks"})
	t.onChange = add(setting{name: "onChange",
		meaning: "run `CMD` in sh for each stack whose status changes (its record is JSON on stdin)"})
	t.report = add(setting{name: "report", meaning: "write reports when the run ends, `FORMAT=FILE`,...: " + strings.Join(formatNames(), ", ")})
	t.metricsStacks = add(setting{name: "metricsStacks", kind: aNumber, def: strconv.Itoa(telemetry.DefaultMaxStacks),
		meaning: "write metrics of each stack only up to `N` stacks; 0: never"})
	t.op = add(setting{name: "op", noConfig: true, defText: "recognised from the command", meaning: "what the command does: deploy, destroy, drift, or a `NAME` of your own"})
	t.planFile = add(setting{name: "planFile", noConfig: true,
		meaning: "keep the plan that is in `FILE` of each stack, for tmnotes show --plan"})
	t.target = add(setting{name: "target", variables: []string{"TM_ARG_RUN_TARGET", "TMNOTES_TARGET"}, noConfig: true, meaning: "deployment `TARGET`, which has a state of its own"})
	t.run = add(setting{name: "run", noConfig: true, defText: "a new run", meaning: "take part in the run `ID`"})
	t.pending = add(setting{name: "pending", kind: yesOrNo, noConfig: true, defText: "off",
		meaning: "only what is not deployed yet: the code differs, or the last deployment failed"})
	t.sign = add(setting{name: "sign", kind: yesOrNo, noFlag: true, defText: "as commit.gpgSign", meaning: "sign notes, locks and records"})
	t.signRecords = add(setting{name: "signRecords", kind: yesOrNo, inFile: noValue, defText: "as --require-signed or tmnotes.sign",
		meaning: "sign what is recorded, with the key and program that git signs commits with"})
	t.requireSigned = add(setting{name: "requireSigned", kind: yesOrNo, inFile: noValue, defText: "off",
		meaning: "count only records that one of --allowed-signers signed"})
	t.allowedSigners = add(setting{name: "allowedSigners", inFile: noValue,
		meaning: "`FILE` of who may sign: a path in the remote's default branch, REF:PATH, or an absolute path"})
	t.repository = add(setting{name: "repository", kind: aList, noFlag: true, inFile: noValue, defText: "the remote's host and path",
		meaning: "`NAME` of this repository in signed records; more of them are names that it had"})
	t.issues = add(setting{name: "issues", kind: yesOrNo, defText: "off",
		meaning: "keep an issue on the forge for each stack that has drifted, and close it when it has not, or is deployed"})
	t.maxOpenIssues = add(setting{name: "maxOpenIssues", kind: aNumber, def: "20", meaning: "with --issues, open no more while `N` are open"})
	t.forge = add(setting{name: "forge", inFile: noValue, defText: "the CI's, else the remote's",
		meaning: "the API of the `FORGE`: github, gitlab, or gitea, which is Forgejo's, too"})
	t.forgeUrl = add(setting{name: "forgeUrl", inFile: noValue, defText: "the CI's, else the remote's",
		meaning: "`URL` of that API, such as https://gitea.example.com/api/v1: the token is sent there"})
	t.committer = add(setting{name: "committer", noFlag: true, defText: "as git has it", meaning: "commit the notes as `Name <mail>`"})
	t.message = add(setting{name: "message", noFlag: true, meaning: "put `TEXT` before the messages of notes commits, or around them at its %s"})
	return t
}

// names are the one that it has, and the one that it had.
func (o *setting) names() []string {
	return slices.DeleteFunc([]string{o.name, o.was}, func(name string) bool { return name == "" })
}

// words are those of a name, with something between them.
func words(name string, between rune) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteRune(between)
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (o *setting) flagName() string { return words(o.name, '-') }

func (o *setting) key() string { return "tmnotes." + o.name }

func (o *setting) defaultText() string { return cmp.Or(o.defText, o.def, "none") }

func (o *setting) flag() cli.Flag { return o.flagFor(o.meaning) }

// flagFor is the flag in a command where it means something of its own.
func (o *setting) flagFor(meaning string) cli.Flag {
	name, usage, aliases := o.flagName(), meaning, []string(nil)
	if o.short != "" {
		aliases = []string{o.short}
	}
	if o.was != "" {
		aliases = append(aliases, words(o.was, '-'))
	}
	switch o.kind {
	case aDuration:
		return &cli.DurationFlag{Name: name, Aliases: aliases, EnvVars: o.variables, DefaultText: o.defaultText(), Usage: usage}
	case aNumber:
		return &cli.IntFlag{Name: name, Aliases: aliases, EnvVars: o.variables, DefaultText: o.defaultText(), Usage: usage}
	case yesOrNo:
		return &cli.BoolFlag{Name: name, Aliases: aliases, EnvVars: o.variables, Usage: usage}
	case aList: // without its variable, which urfave/cli would take for one value
		return &cli.StringSliceFlag{Name: name, Aliases: aliases, DefaultText: o.defaultText(), Usage: usage}
	}
	return &cli.StringFlag{Name: name, Aliases: aliases, EnvVars: o.variables, DefaultText: o.defaultText(), Usage: usage}
}

// given says whether the flag, or its variable, is set.
func (o *setting) given(c *cli.Context) bool { return c.IsSet(o.flagName()) }

// configured is its value in git's configuration or gitstate.ConfigFile, and the name that it has there.
func (o *setting) configured(s *gitstate.Store) (value, name string) {
	if o.noConfig {
		return "", o.name
	}
	for _, committed := range []bool{false, true} { // whichever of its names git has goes before the file
		for _, name := range o.names() {
			if v := s.Config(name); v != "" && s.IsCommitted(name) == committed {
				return v, name
			}
		}
	}
	return "", o.name
}

// origin is where its value stands, for an error.
func (o *setting) origin(c *cli.Context, s *gitstate.Store) string {
	if o.given(c) {
		return "--" + o.flagName()
	}
	_, name := o.configured(s)
	return s.ConfigName(name)
}

func (o *setting) text(c *cli.Context, s *gitstate.Store) string {
	if o.given(c) {
		return c.String(o.flagName())
	}
	value, _ := o.configured(s)
	return cmp.Or(value, o.def)
}

func (o *setting) duration(c *cli.Context, s *gitstate.Store) (time.Duration, error) {
	if o.given(c) {
		return c.Duration(o.flagName()), nil
	}
	v := cmp.Or(o.text(c, s), "0")
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a duration; write it like 90s or 5m", o.origin(c, s), v)
	}
	return d, nil
}

func (o *setting) number(c *cli.Context, s *gitstate.Store) (int, error) {
	if o.given(c) {
		return c.Int(o.flagName()), nil
	}
	v := o.text(c, s)
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is not a number", o.origin(c, s), v)
	}
	return n, nil
}

// pattern is nil where there is none.
func (o *setting) pattern(c *cli.Context, s *gitstate.Store) (*regexp.Regexp, error) {
	v := o.text(c, s)
	if v == "" {
		return nil, nil
	}
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.origin(c, s), err)
	}
	return re, nil
}

// list is the values, and where they stand.
func (o *setting) list(c *cli.Context, env Env, s *gitstate.Store) (values []string, from string) {
	if o.given(c) {
		return c.StringSlice(o.flagName()), "--" + o.flagName()
	}
	for _, name := range o.variables {
		if v := env.Getenv(name); v != "" {
			return strings.Fields(v), name
		}
	}
	return s.ConfigAll(o.name), s.ConfigName(o.name)
}

func flagsOf(options ...*setting) (flags []cli.Flag) {
	for _, o := range options {
		flags = append(flags, o.flag())
	}
	return flags
}

// keys are the names of those that git's configuration can have.
func (t settingsTable) keys() (names []string) {
	for _, o := range t.all {
		if !o.noConfig {
			names = append(names, o.name)
		}
	}
	slices.Sort(names)
	return names
}

// checkSettings refuses keys that nobody reads: a limit whose name is misspelt must
// not silently be none. In git's configuration, which other versions of tmnotes share,
// that is a warning.
func checkSettings(s *gitstate.Store, warn func(string)) error {
	git, file := s.ConfigKeys()
	for _, key := range git {
		if why := unknownSetting(key); why != "" {
			warn("git config: " + why)
		}
	}
	for _, key := range file {
		if why := unknownSetting(key); why != "" {
			return fmt.Errorf("%s: %s", gitstate.ConfigFile, why)
		}
	}
	for _, o := range settings.all {
		set, off := false, false
		for _, name := range o.names() {
			set = set || slices.Contains(file, strings.ToLower("tmnotes."+name))
			off = off || s.IsCommitted(name) && s.Config(name) == "off"
		}
		if o.inFile == noValue && set || o.inFile == notOff && off {
			use := "git config"
			if !o.noFlag {
				use += ", " + o.variables[0] + " or --" + o.flagName()
			}
			return fmt.Errorf("%s: %s cannot be %s there, where any branch could set it; use %s",
				gitstate.ConfigFile, o.key(), map[inFile]string{noValue: "set", notOff: "off"}[o.inFile], use)
		}
	}
	return nil
}

// unknownSetting says what is wrong with a key, in lower case as git prints it; "" if
// nothing is.
func unknownSetting(key string) string {
	name, ours := strings.CutPrefix(key, "tmnotes.")
	names := settings.keys()
	is := func(k string) bool { return strings.ToLower(k) == name }
	if ours && (slices.ContainsFunc(names, is) || slices.ContainsFunc(settings.all, func(o *setting) bool { return is(o.was) })) {
		return ""
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	distance := func(k string) int { return levenshtein.Distance(strings.ToLower(k), last, nil) }
	nearest := slices.MinFunc(names, func(a, b string) int { return distance(a) - distance(b) })
	if distance(nearest) > len(last)/2 {
		return fmt.Sprintf("%s is not a setting; the settings are %s", key, strings.Join(names, ", "))
	}
	return fmt.Sprintf("%s is not a setting; did you mean tmnotes.%s?", key, nearest)
}

// dropEmpty makes a flag look at none of its variables that are empty: CI engines
// give "" for a variable that is not set, and stock terramate takes that for none,
// too (kong, Value.Reset). To urfave/cli it would be a value, that hides the next
// variable and what is configured.
func dropEmpty(f cli.Flag, env Env) {
	names := envVars(f)
	if names != nil {
		*names = slices.DeleteFunc(slices.Clone(*names), func(name string) bool {
			value, set := runner.LookupEnv(env.Environ, name)
			return set && value == ""
		})
	}
	if f, is := f.(*cli.BoolFlag); is {
		readYesOrNo(f, env)
	}
}

// readYesOrNo takes the variable of a flag that is yes or no, as kong does for stock terramate:
// Go's words for it, which urfave/cli takes, are others.
func readYesOrNo(f *cli.BoolFlag, env Env) {
	for _, name := range f.EnvVars {
		value, set := runner.LookupEnv(env.Environ, name)
		if !set {
			continue
		}
		if value = strings.ToLower(value); value == "yes" || value == "no" {
			f.Value, f.HasBeenSet, f.EnvVars = value == "yes", true, nil
		}
		return
	}
}

// envVars are the variables of a flag; nil for a type of flag that is not used here.
func envVars(f cli.Flag) *[]string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return &f.EnvVars
	case *cli.BoolFlag:
		return &f.EnvVars
	case *cli.IntFlag:
		return &f.EnvVars
	case *cli.DurationFlag:
		return &f.EnvVars
	case *cli.StringSliceFlag:
		return &f.EnvVars
	case *optionalFlag:
		return &f.EnvVars
	}
	return nil
}
