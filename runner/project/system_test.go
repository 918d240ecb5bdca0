package project

import (
	"errors"
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

// Where a file system takes two names for one, the commit's files of a folder may have the other name. Then it is not
// said that nothing in it changed.
func TestNamedOtherwise(t *testing.T) {
	t.Parallel()
	const composed, decomposed = "/caf\u00e9", "/cafe\u0301"
	files := map[string]string{"Prod/a/stack.tm": "stack {\n}\n", composed[1:] + "/stack.tm": "stack {\n}\n", "same/stack.tm": "stack {\n}\n"}
	root := repo(t, files)
	head := git(t, root, "rev-parse", "HEAD")
	// As on the disk of such a system, but beside what is in the commit.
	write(t, root, map[string]string{"prod/a/stack.tm": "stack {\n}\n", decomposed[1:] + "/stack.tm": "stack {\n}\n", "new/stack.tm": "stack {\n}\n"})
	p := load(t, root, false)
	c, err := p.codeAt(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	in, err := p.inputsOf(t.Context(), head, c)
	if err != nil {
		t.Fatal(err)
	}
	for stack, want := range map[string]string{"/Prod/a": "", composed: "", "/same": "", "/new": "", "/prod/a": "calls it /Prod/a", decomposed: "calls it " + composed} {
		_, err := in.Digest(stack)
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", stack, err, want)
		}
	}
}
