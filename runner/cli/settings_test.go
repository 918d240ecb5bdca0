package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// The store knows no setting that the table has not, and its defaults are the table's.
func TestSettingsOfTheStore(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(top + "/gitstate/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	reads := regexp.MustCompile(`(?:Config(?:All|Name)?\("|\.Setting\("tmnotes\.)([a-zA-Z]+)"`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reads.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(f, "_test.go") && !slices.Contains(settings.keys(), m[1]) {
				t.Errorf("%s reads tmnotes.%s, which is no setting", f, m[1])
			}
		}
	}
	for o, want := range map[*setting]time.Duration{settings.staleAfter: gitstate.DefaultStaleAfter, settings.networkTimeout: gitstate.DefaultNetworkTimeout} {
		if def, err := time.ParseDuration(o.def); err != nil || def != want {
			t.Errorf("%s is %s by default, and %v in the store", o.key(), o.def, want)
		}
	}
}

// Every variable of tmnotes' own is one of a setting, and whatever flag has it is made of that.
func TestSettingsHaveTheVariables(t *testing.T) {
	t.Parallel()
	unused := slices.DeleteFunc(slices.Clone(settings.all), func(o *setting) bool { return o.noFlag })
	eachFlag(newApp(Env{}), func(command []string, f cli.Flag) {
		made := func(o *setting) bool { return o.makes(f) }
		own := slices.ContainsFunc(*envVars(f), func(name string) bool { return strings.HasPrefix(name, "TMNOTES_") })
		if own && !slices.ContainsFunc(settings.all, made) {
			t.Errorf("%q: --%s is in no row of settings", command, f.Names()[0])
		}
		unused = slices.DeleteFunc(unused, made)
	})
	for _, o := range unused {
		t.Errorf("no command has --%s", o.flagName())
	}
	for _, o := range settings.all {
		if field := reflect.ValueOf(settings).FieldByName(o.name); !field.IsValid() || field.Pointer() != reflect.ValueOf(o).Pointer() {
			t.Errorf("settings.%s is not the row of that name", o.name)
		}
	}
}

// makes says whether a flag is that of the setting, in whatever command.
func (o *setting) makes(f cli.Flag) bool {
	flag := o.flag()
	return !o.noFlag && fmt.Sprintf("%T", f) == fmt.Sprintf("%T", flag) && slices.Equal(f.Names(), flag.Names()) && slices.Equal(*envVars(f), *envVars(flag))
}

// eachFlag visits the flags of all commands.
func eachFlag(app *cli.App, visit func(command []string, f cli.Flag)) {
	for _, cmd := range app.Commands {
		for _, sub := range append(slices.Clone(cmd.Subcommands), cmd) {
			words := []string{"tmnotes", cmd.Name}
			if sub != cmd {
				words = append(words, sub.Name)
			}
			for _, f := range sub.Flags {
				visit(words, f)
			}
		}
	}
}

// actAs runs a command line, with act in place of what the command does.
func actAs(t *testing.T, line []string, act func(c *cli.Context)) {
	t.Helper()
	app := newApp(Env{Stdout: io.Discard, Stderr: io.Discard, Environ: os.Environ()})
	ran := false
	for _, command := range app.Commands {
		for _, c := range append(command.Subcommands, command) {
			c.Before, c.Action = nil, func(c *cli.Context) error {
				ran = true
				act(c)
				return nil
			}
		}
	}
	if err := app.Run(line); err != nil || !ran {
		t.Fatalf("%q: %v", line, err)
	}
}

// The flag wins, then the variable, then git's configuration, then .tmnotesconfig, then the default:
// of each setting, wherever it can stand. A variable that is set and empty counts as unset.
func TestSettingsPrecedence(t *testing.T) { // not in parallel: urfave/cli reads the variables of the process
	repo := gittest.New(t)
	file := filepath.Join(repo.Dir, gitstate.ConfigFile)
	samples := map[kind]struct{ file, git, variable, flag string }{
		aText:     {"file", "git", "variable", "flag"},
		aPattern:  {"file", "git", "variable", "flag"},
		aList:     {"file", "git", "variable", "flag"},
		aDuration: {"1s", "2s", "3s", "4s"},
		aNumber:   {"101", "102", "103", "104"},
		yesOrNo:   {"true", "false", "true", "false"},
	}
	for _, o := range settings.all {
		t.Run(o.name, func(t *testing.T) {
			for _, name := range o.variables {
				t.Setenv(name, "")
			}
			value := samples[o.kind]
			if o == settings.committer {
				value.file, value.git = "File <file@example.com>", "Git <git@example.com>"
			}
			read := reader{o, repo, commandWith(o)}
			read.gives(t, "default", defaultOf(t, o))
			if !o.noConfig {
				defer func() {
					repo.Git("config", "--unset", o.key())
					if err := os.Remove(file); err != nil {
						t.Error(err)
					}
				}()
				switch o.inFile {
				case noValue:
					repo.Git("config", "--file", file, o.key(), value.file)
					read.isRefused(t, o.key()+" cannot be set there, ")
					repo.Git("config", "--file", file, "--unset", o.key())
				case notOff:
					repo.Git("config", "--file", file, o.key(), "off")
					read.isRefused(t, o.key()+" cannot be off there, ")
					fallthrough
				case anyValue:
					repo.Git("config", "--file", file, o.key(), value.file)
					read.gives(t, gitstate.ConfigFile, value.file)
				}
				repo.Git("config", o.key(), value.git)
				read.gives(t, "git config", value.git)
			}
			if !o.noFlag {
				os.Setenv(o.variables[len(o.variables)-1], value.variable) // another one stays empty
				read.gives(t, "variable", value.variable)
				read.line = append(read.line, "--"+o.flagName()+"="+value.flag)
				read.gives(t, "flag", value.flag)
			}
		})
	}
}

// commandWith is a command that has the setting's flag; any, if it has none.
func commandWith(o *setting) []string {
	with := []string{"tmnotes", "status"}
	eachFlag(newApp(Env{}), func(command []string, f cli.Flag) {
		if o.makes(f) {
			with = command
		}
	})
	return with
}

// reader reads a setting as a command does.
type reader struct {
	o    *setting
	repo *gittest.Repo
	line []string
}

func (r *reader) read(t *testing.T) (value string, err error) {
	t.Helper()
	actAs(t, r.line, func(c *cli.Context) {
		env := Env{Stderr: io.Discard, Environ: gittest.Env(r.repo.Dir)}
		s, failed := openStore(c, env, r.repo.Dir)
		if err = failed; err == nil {
			defer s.Close()
			value, err = valueOf(r.o, c, env, s)
		}
	})
	return value, err
}

func (r *reader) gives(t *testing.T, where, want string) {
	t.Helper()
	if got, err := r.read(t); err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", where, got, err, want)
	}
}

func (r *reader) isRefused(t *testing.T, why string) {
	t.Helper()
	if got, err := r.read(t); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%q, %v; want: %s", got, err, why)
	}
}

// valueOf is what a command gets of a setting.
func valueOf(o *setting, c *cli.Context, env Env, s *gitstate.Store) (string, error) {
	switch o.kind {
	case aDuration:
		d, err := o.duration(c, s)
		return d.String(), err
	case aNumber:
		n, err := o.number(c, s)
		return strconv.Itoa(n), err
	case aPattern:
		re, err := o.pattern(c, s)
		if re == nil {
			return "", err
		}
		return re.String(), err
	case aList:
		values, _ := o.list(c, env, s)
		return strings.Join(values, " "), nil
	case yesOrNo:
		yes, err := o.yes(c, s, false)
		return strconv.FormatBool(yes), err
	}
	if o == settings.ref { // the store reads it
		return strings.TrimPrefix(s.Ref(), "refs/notes/"), nil
	}
	return o.text(c, s), nil
}

func defaultOf(t *testing.T, o *setting) string {
	t.Helper()
	switch {
	case o == settings.ref:
		return strings.TrimPrefix(o.def, "refs/notes/")
	case o.kind == aDuration:
		d, err := time.ParseDuration(cmp.Or(o.def, "0"))
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	case o.kind == yesOrNo:
		return "false"
	}
	return o.def
}

// A variable that is set and empty is as one that is not set, for every variable of
// every flag, Terramate's too, and does not hide another one of the same flag.
func TestEmptyVariableIsNoSetting(t *testing.T) {
	samples := map[string]string{"*cli.StringFlag": "x", "*cli.BoolFlag": "true", "*cli.IntFlag": "3", "*cli.DurationFlag": "90s", "*cli.StringSliceFlag": "x"}
	type of struct {
		command []string
		flag    cli.Flag
		typ     string
		names   []string
	}
	var flags []of
	eachFlag(newApp(Env{}), func(command []string, f cli.Flag) {
		names := envVars(f)
		if names == nil {
			t.Fatalf("%T, of --%s, is not looked at for empty variables", f, f.Names()[0])
		}
		if len(*names) > 0 {
			flags = append(flags, of{command, f, fmt.Sprintf("%T", f), *names})
		}
	})
	if len(flags) < 40 {
		t.Fatalf("only %d flags have variables", len(flags))
	}
	// seen is what a command sees of its flag.
	seen := func(words []string, name string) (set bool, value string) {
		actAs(t, words, func(c *cli.Context) { set, value = c.IsSet(name), fmt.Sprint(c.Value(name)) })
		return set, value
	}
	for _, f := range flags {
		for _, name := range f.names {
			t.Setenv(name, "") // restored at the end
			os.Unsetenv(name)
		}
	}
	for _, f := range flags {
		name := f.flag.Names()[0]
		_, unset := seen(f.command, name)
		for _, variable := range f.names {
			os.Setenv(variable, "")
		}
		if set, value := seen(f.command, name); set || value != unset {
			t.Errorf("%q: --%s is set by empty %q: %s, not %s", f.command, name, f.names, value, unset)
		}
		last := f.names[len(f.names)-1] // the others are empty
		if f.typ == "*cli.BoolFlag" {
			for word, want := range map[string]string{"yes": "true", "No": "false", "0": "false", "TRUE": "true"} {
				os.Setenv(last, word)
				if set, value := seen(f.command, name); !set || value != want {
					t.Errorf("%q: --%s is %s with %s=%s", f.command, name, value, last, word)
				}
			}
		}
		os.Setenv(last, samples[f.typ])
		if set, value := seen(f.command, name); !set || value == unset && f.typ != "*cli.BoolFlag" {
			t.Errorf("%q: --%s is not set by %s=%s: %s", f.command, name, last, samples[f.typ], value)
		}
		for _, variable := range f.names {
			os.Unsetenv(variable)
		}
	}
}
