package cli

import (
	"errors"
	"fmt"

	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// verdict is the exit code and the last words of a run. That records are only here is
// always said.
func (x *chosen) verdict(out *deploy.Outcome) error {
	var refused deploy.AdmitError
	var verdict error
	switch {
	case errors.As(out.Stopped, &refused) && !out.Started:
		verdict = fmt.Errorf("%w; nothing was executed", refused)
	case errors.As(out.Stopped, &refused):
		verdict = &exitError{exitFailed, fmt.Errorf("the run was stopped: %w", refused)}
	case out.Stopped != nil:
		verdict = &exitError{exitFailed, fmt.Errorf("the run was stopped because a result could not be recorded: %w", out.Stopped)}
	case out.Interrupted:
		verdict = &exitError{code: exitInterrupted}
	case out.Counts[runner.StatusFailed]+out.Counts[runner.StatusBlocked]+out.Counts[runner.StatusCanceled] > 0:
		verdict = &exitError{code: exitFailed}
	case out.Unsent != nil:
		return deploy.NotPushed(x.Store, x.Route.Remote, out.Unsent, x.CI)
	}
	if out.Unsent != nil {
		x.u.Warn(deploy.NotPushed(x.Store, x.Route.Remote, out.Unsent, x.CI).Error())
	}
	return verdict
}
