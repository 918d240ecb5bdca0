package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FindProgram reports why a command with this name could not be started in dir with env;
// nil if it could.
func FindProgram(name, dir string, env []string) error {
	_, err := lookPath(name, dir, env)
	return err
}

// LookPath is where the program is that a command with this name would start in dir with env.
func LookPath(name, dir string, env []string) (string, error) { return lookPath(name, dir, env) }

// Wrapper is the path of the script that the actions setup-terraform and setup-opentofu put
// in a program's place, "" where it is the program itself. The script prints what the
// program said and exits with 0 where that exited with 2: changes are not seen.
func Wrapper(name, dir string, env []string) string {
	tool := filepath.Base(name)
	if ext := filepath.Ext(tool); strings.EqualFold(ext, ".exe") {
		tool = strings.TrimSuffix(tool, ext)
	}
	if !slices.Contains([]string{"terraform", "tofu", "terragrunt"}, tool) {
		return ""
	}
	path, err := lookPath(name, dir, env)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	for _, file := range []string{tool + "-bin", tool + "-bin.exe"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), file)); err == nil {
			return path
		}
	}
	return ""
}

// isPath reports whether a command's name says where its file is.
func isPath(name string) bool { return strings.ContainsAny(name, `/`+string(filepath.Separator)) }

// Programs looks for the programs of many tasks. The zero value is ready for use.
type Programs struct{ known map[[2]string]error }

// Find reports why a task could not run for want of a program, nil if it could. What an
// earlier command of the task may make is not looked for.
func (p *Programs) Find(t Task) error {
	if p.known == nil {
		p.known = map[[2]string]error{}
	}
	path := Getenv(t.Env, "PATH")
	for i, c := range t.Commands {
		if len(c.Args) == 0 {
			continue
		}
		name := c.Args[0]
		if isPath(name) {
			err := FindProgram(name, t.Stack.Dir, t.Env)
			file := name
			if !filepath.IsAbs(file) {
				file = filepath.Join(t.Stack.Dir, file)
			}
			if _, missing := os.Stat(file); err != nil && (i == 0 || missing == nil) {
				return err
			}
			continue
		}
		key := [2]string{name, path}
		err, ok := p.known[key]
		if !ok {
			err = FindProgram(name, t.Stack.Dir, t.Env)
			if !slices.ContainsFunc(filepath.SplitList(path), func(dir string) bool { return !filepath.IsAbs(dir) }) {
				p.known[key] = err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ParentID names the process that started this one. Process numbers are given out again, on Windows
// soon, so the time when it was started belongs to the name where the system tells it.
func ParentID() string {
	pid := os.Getppid()
	if at := parentStarted(pid); at != "" {
		return fmt.Sprintf("%d-%s", pid, at)
	}
	return fmt.Sprint(pid)
}
