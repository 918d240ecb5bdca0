package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
)

// settings are the keys tmnotes.* that are read from git's configuration and from
// gitstate.ConfigFile.
var settings = []string{
	"claims", "committer", "gate", "lease", "maxFailures", "message", "metricsStacks", "networkTimeout", "onChange", "onClaimed", "output", "parallel", "pushInterval", "ref", "remote", "report", "retry", "retryOn", "sign", "soak",
	"staleAfter", "sync", "timeout", "wave",
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
		if key == "tmnotes.ref" || key == "tmnotes.remote" {
			return fmt.Errorf("%s: %s cannot be set there, where any branch could set it; use git config, %s or --%s",
				gitstate.ConfigFile, key, variableOf(key), strings.TrimPrefix(key, "tmnotes."))
		}
	}
	for _, key := range []string{"sync", "claims"} {
		if s.IsCommitted(key) && s.Config(key) == "off" {
			return fmt.Errorf("%s: tmnotes.%s cannot be off there, where any branch could set it; use git config, %s or --%s",
				gitstate.ConfigFile, key, variableOf("tmnotes."+key), key)
		}
	}
	return nil
}

func variableOf(key string) string { return strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

// unknownSetting says what is wrong with a key, in lower case as git prints it; "" if
// nothing is.
func unknownSetting(key string) string {
	name, ours := strings.CutPrefix(key, "tmnotes.")
	if ours && slices.ContainsFunc(settings, func(k string) bool { return strings.ToLower(k) == name }) {
		return ""
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	distance := func(k string) int { return levenshtein.Distance(strings.ToLower(k), last, nil) }
	nearest := slices.MinFunc(settings, func(a, b string) int { return distance(a) - distance(b) })
	if distance(nearest) > len(last)/2 {
		return fmt.Sprintf("there is no setting %s; the settings are %s", key, strings.Join(settings, ", "))
	}
	return fmt.Sprintf("there is no setting %s; is tmnotes.%s meant?", key, nearest)
}

// dropEmpty makes a flag look at none of its variables that are empty: CI engines
// give "" for a variable that is not set, and stock terramate takes that for none,
// too (kong, Value.Reset). To urfave/cli it would be a value, that hides the next
// variable and what is configured.
func dropEmpty(f cli.Flag, env Env) {
	names := envVars(f)
	if names != nil {
		*names = slices.DeleteFunc(slices.Clone(*names), func(name string) bool {
			value, set := env.lookup(name)
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
		value, set := env.lookup(name)
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
	}
	return nil
}
