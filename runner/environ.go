package runner

import (
	"runtime"
	"slices"
	"strings"
)

// Getenv is the value of a variable in an environment, "" where it is not set.
func Getenv(environ []string, name string) string {
	value, _ := LookupEnv(environ, name)
	return value
}

// LookupEnv is Getenv, and reports whether the variable is set. Of two with one name the last
// counts; Windows does not tell Path from PATH.
func LookupEnv(environ []string, name string) (value string, set bool) {
	for _, kv := range slices.Backward(environ) {
		if len(kv) > len(name) && kv[len(name)] == '=' && (kv[:len(name)] == name || runtime.GOOS == "windows" && strings.EqualFold(kv[:len(name)], name)) {
			return kv[len(name)+1:], true
		}
	}
	return "", false
}
