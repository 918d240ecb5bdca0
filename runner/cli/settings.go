package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

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
	}
	return nil
}

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
