package project

import (
	tmproject "github.com/terramate-io/terramate/project"
	"github.com/terramate-io/terramate/stack/trigger"

	"github.com/tmnotes/tmnotes/runner"
)

// Trigger writes Terramate's own trigger file for a stack, below .tmtriggers/
// at the project's top, as `terramate trigger` does. Once it is committed,
// change detection takes the stack as changed, or, with ignore, what changed in
// it as no change. What was loaded before does not know of the file.
func (p *Project) Trigger(s runner.Stack, ignore bool, reason string) error {
	if _, _, err := p.config(s); err != nil {
		return err
	}
	kind := trigger.Changed
	if ignore {
		kind = trigger.Ignored
	}
	return oneLine("triggering "+s.Path, trigger.Create(p.root(), tmproject.NewPath(s.Path), kind, reason))
}
