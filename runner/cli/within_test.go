package cli

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWriteWithin(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	outside := t.TempDir()
	top := filepath.Join(outside, "top")
	for _, dir := range []string{".git/hooks", "docs", "deep/er"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": outside, "up": "..", "hooks": ".git/hooks", "file": "../victim", "deep/er/x": "../../.git"} {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o666); err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error { _, err := io.WriteString(w, "report"); return err }
	for file, fine := range map[string]bool{"report.md": true, "docs/report.md": true, "./docs/../r.md": true, "../victim": false, victim: false, "docs/../../victim": false,
		"out/victim": false, "up/victim": false, "hooks/pre-push": false, "file": false, ".git/hooks/pre-push": false, ".GIT/hooks/x": false, "docs/.git/x": false,
		"deep/er/x/config": false, ".git. /x": false, "GIT~1/x": false, ".g\u200cit/x": false, "": false, ".gitignored": true, "missing/x": false} {
		if err := writeWithin(top, file, write); (err == nil) != fine {
			t.Errorf("%q: %v", file, err)
		}
		if text, err := os.ReadFile(filepath.Join(top, file)); fine && (err != nil || string(text) != "report") {
			t.Errorf("%q has %q, %v", file, text, err)
		}
	}
	if text, _ := os.ReadFile(victim); string(text) != "precious" {
		t.Errorf("the victim has %q", text)
	}
	if left, _ := filepath.Glob(filepath.Join(top, ".*.*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for dir, fine := range map[string]bool{"legs": true, "a/b/c": true, "out": false, "up/x": false, "hooks": false, ".git/x": false} {
		root, err := openFolder(top, filepath.Join(top, dir))
		if (err == nil) != fine {
			t.Errorf("%q: %v", dir, err)
		}
		if err == nil {
			root.Close()
		}
	}
	// Where somebody who may name any folder names one elsewhere, links lead there.
	root, err := openFolder(top, filepath.Join(outside, "top", "..", "there"))
	if err != nil {
		t.Fatal(err)
	}
	root.Close()
}
