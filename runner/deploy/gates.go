package deploy

import (
	"context"
	"fmt"

	"github.com/tmnotes/tmnotes/runner"
)

// gate is asked about stacks that are ready; see runner.Options.Admit.
type gate func(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error)

// inTurn asks one after the other. The first that has something to say about a stack
// decides on it; the later ones are asked about those that are left.
func inTurn(chain ...gate) gate {
	return func(ctx context.Context, ready []runner.Stack) ([]runner.Admission, error) {
		answers := make([]runner.Admission, len(ready))
		left := make([]int, len(ready))
		for i := range ready {
			left[i] = i
		}
		for _, ask := range chain {
			var stacks []runner.Stack
			for _, i := range left {
				stacks = append(stacks, ready[i])
			}
			if len(stacks) == 0 {
				break
			}
			said, err := ask(ctx, stacks)
			if err != nil {
				return nil, err
			}
			if len(said) != len(stacks) {
				return nil, fmt.Errorf("%d answers for %d stacks", len(said), len(stacks))
			}
			var next []int
			for k, i := range left {
				if answers[i] = said[k]; said[k] == (runner.Admission{}) {
					next = append(next, i)
				}
			}
			left = next
		}
		return answers, nil
	}
}

// AdmitError stops a run: whether a stack may start cannot be told.
type AdmitError struct{ error }

func (e AdmitError) Unwrap() error { return e.error }
