package report

import (
	"context"

	"github.com/tmnotes/tmnotes/gitstate"
)

// verify gives each run what its signatures say, where it is set who may sign.
func (b *builder) verify(ctx context.Context, s *gitstate.Store) error {
	if !s.Accepts() || len(b.notes) == 0 {
		return nil
	}
	commits := make([]string, len(b.notes))
	for i, n := range b.notes {
		commits[i] = n.commit
	}
	runs, err := s.Verify(ctx, commits...)
	for i := range runs {
		v := &runs[i]
		if run := b.runs[runOf{v.Run, v.Commit}]; run != nil {
			run.Verdict, run.Signed = v.Verdict(), v.Says()
		}
	}
	return err
}
