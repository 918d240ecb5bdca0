//go:build unix

package runner

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// stars hides the values of the variables that it learned.
type stars struct {
	mu     sync.Mutex
	values []string
}

func (s *stars) Learn(env []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kv := range env {
		_, value, _ := strings.Cut(kv, "=")
		s.values = append(s.values, value)
	}
}

func (s *stars) Hide(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.values {
		text = strings.ReplaceAll(text, v, "***")
	}
	return text
}

// What a result says of a task has passed its secrets before it was cut, colours
// and all, in the event of a retry as well; also what Prepare gave to the command.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	secret := "hun" + strings.Repeat("ter2", 10)
	for name, script := range map[string]string{
		"as it is":                `echo "Error: login with $SECRET" >&2; exit 1`,
		"at the end of what fits": `printf 'Error: %270s %s more\n' x "$SECRET" >&2; exit 1`,
		"within colours":          `printf 'Error: hun\033[1m%s\033[0m\n' "${SECRET#hun}" >&2; exit 1`,
		"as the last line":        `echo "$SECRET"; exit 1`,
		"what was drawn over it":  `printf 'Error: x\rError: %s\n' "$SECRET"; exit 1`,
	} {
		task := sh(t, "/a", script)
		task.Secrets = &stars{}
		task.Commands[0].Prepare = func(context.Context) ([]string, error) { return []string{"SECRET=" + secret}, nil }
		var said []string
		results, err := Execute(t.Context(), free(t, "/a"), map[string]Task{"/a": task}, Options{Retries: 1, Backoff: func(int) time.Duration { return 0 }}, func(e Event) error {
			said = append(append(said, e.Result.Reason), e.Result.Last...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if results[0].Status != StatusFailed || results[0].Tries != 2 {
			t.Errorf("%s: %+v", name, results[0])
		}
		if all := strings.Join(said, "\n"); strings.Contains(all, "ter2") || !strings.Contains(all, "***") {
			t.Errorf("%s: %s", name, all)
		}
	}
}
