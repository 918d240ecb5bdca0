package deploy

import (
	"fmt"
	"strings"

	"github.com/tmnotes/tmnotes/runner"
)

// CheckPrograms refuses tasks that could not start for want of a program, and those that
// look for drift through a program that hides it.
func CheckPrograms(tasks map[string]runner.Task, paths []string) error {
	var programs runner.Programs
	for _, path := range paths {
		task := tasks[path]
		if err := programs.Find(task); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, c := range task.Commands {
			if c.Changes != runner.StatusDrifted {
				continue
			}
			if wrapper := runner.Wrapper(c.Args[0], task.Stack.Dir, task.Env); wrapper != "" {
				return errWrapped(c.Args[0], wrapper)
			}
		}
	}
	return nil
}

func errWrapped(program, wrapper string) error {
	return fmt.Errorf("%s is the wrapper script of a setup action: it hides exit code 2 of %s, so drift would never be seen; set %s_wrapper: false in the action", wrapper, program, wrapperOption(program))
}

// wrapperOption begins the name of the option of setup-terraform or setup-opentofu.
func wrapperOption(program string) string {
	if strings.HasPrefix(program, "tofu") {
		return "tofu"
	}
	return "terraform"
}
