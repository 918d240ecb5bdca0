package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// Every setting that the code reads is one that checkSettings knows, and the other
// way round.
func TestSettingsAreKnown(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(top + "/*/*.go")
	inner, err2 := filepath.Glob(top + "/*/*/*.go")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	reads := regexp.MustCompile(`(?:[sS]etting\(c, s, "[a-z-]*", "|Config(?:All|Name)?\("|\.setting\("tmnotes\.)([a-zA-Z]+)"`)
	var read []string
	for _, f := range append(files, inner...) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range reads.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(read, m[1]) {
				read = append(read, m[1])
			}
		}
	}
	slices.Sort(read)
	if !slices.Equal(read, settings) {
		t.Errorf("read are %q, known are %q", read, settings)
	}
}
