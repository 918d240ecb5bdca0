package runner

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	// Windows knows a program by its extension, Unix by its mode.
	tool, absent, unfit := "bin/tool", ": no such file", ": permission denied"
	if runtime.GOOS == "windows" {
		tool, absent, unfit = "bin/tool.exe", "", ""
	}
	root := filesIn(t, map[string]string{tool: "#!/bin/sh\n", "bin/data": "x", "s/run.sh": "#!/bin/sh\n", "s/data": "x"})
	for _, file := range []string{tool, "s/run.sh"} {
		if err := os.Chmod(filepath.Join(root, file), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for cmds, want := range map[string]string{
		"tool": "", "tool a; tool b": "", "./run.sh": "", "../bin/tool": "",
		"none": "command not found: none", "data": "command not found: data", "tool; none": "command not found: none",
		"./none": "command not found: ./none" + absent, "./data": "command not found: ./data" + unfit,
		"tool; ./made": "", "tool; ./data": "command not found: ./data" + unfit,
	} {
		task := Task{Stack: Stack{Dir: filepath.Join(root, "s")}, Env: []string{"PATH=/nowhere", "PATH=" + filepath.Join(root, "bin")}}
		for line := range strings.SplitSeq(cmds, ";") {
			task.Commands = append(task.Commands, Command{Args: strings.Fields(line)})
		}
		var programs Programs
		for range 2 {
			if err := programs.Find(task); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", cmds, err, want)
			}
		}
	}
}

// filesIn makes files below a new folder.
func filesIn(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
