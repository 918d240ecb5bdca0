package project

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Where no links can be made, a link is what git makes of it there.
func TestLinkAsGit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := linkAsGit(root, "../a/b", "link"); err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(filepath.Join(dir, "link"))
	text, _ := os.ReadFile(filepath.Join(dir, "link"))
	switch {
	case err == nil && target == filepath.FromSlash("../a/b"):
	case err != nil && runtime.GOOS == "windows" && string(text) == "../a/b":
	default:
		t.Errorf("it leads to %q (%v) and has %q", target, err, text)
	}
	if err := linkAsGit(root, "elsewhere", "link"); err == nil {
		t.Error("what was there was replaced")
	}
}

// More files than a command line has room for: 32 KiB on Windows.
func TestTrackedOfMany(t *testing.T) {
	t.Parallel()
	root := repo(t, map[string]string{"a/x": "1", "terramate.tm": ""})
	asked := []string{"/a/x", "/none"}
	for i := range 400 {
		asked = append(asked, fmt.Sprintf("/%s/%d", strings.Repeat("long", 30), i))
	}
	found, err := workTree{dir: root}.tracked(t.Context(), asked)
	if err != nil || !found["/a/x"] || found["/none"] {
		t.Errorf("%v, %v", found, err)
	}
}
