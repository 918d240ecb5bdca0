package serve

import (
	"context"
	"errors"
	"testing"
)

// What was recorded after the push that began when all had ended is pushed once more; what that push
// could not send is not tried twice.
func TestSentWasAll(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	done := make(chan struct{})
	close(done)
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		ctx  context.Context
		last *sending
		sent bool
		err  error
	}{
		"all":                    {t.Context(), &sending{made: 2, done: done}, true, nil},
		"something came after":   {t.Context(), &sending{made: 1, done: done}, false, nil},
		"it failed":              {t.Context(), &sending{made: 2, done: done, err: refused}, true, refused},
		"no time is left for it": {over, &sending{made: 2, done: make(chan struct{})}, false, nil},
		"nothing ended":          {t.Context(), nil, false, nil},
	} {
		h := &Host{made: 2, last: c.last}
		if got, err := h.sent(c.ctx); got != c.sent || err != c.err {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// Only where every command is asked for before it starts may a deployment be announced meanwhile.
func TestWaitsToStart(t *testing.T) {
	t.Parallel()
	for line, c := range map[string]struct {
		argv  []string
		env   string
		waits bool
	}{
		"run":           {argv: []string{"terramate", "run", "--sync-deployment", "--", "script", "--enable-sharing"}, waits: true},
		"a path":        {argv: []string{"/opt/terramate", "-C", "a", "run", "--sync-deployment", "--", "x"}, waits: true},
		"a script":      {argv: []string{"terramate", "script", "run", "deploy"}},
		"sharing":       {argv: []string{"terramate", "run", "--enable-sharing", "--", "x"}},
		"sharing=true":  {argv: []string{"terramate", "run", "--enable-sharing=true", "--", "x"}},
		"sharing by it": {argv: []string{"terramate", "run", "--", "x"}, env: "true"},
		"a program":     {argv: []string{"sh", "run"}},
	} {
		getenv := func(name string) string {
			if name == "TM_ARG_RUN_ENABLE_SHARING" {
				return c.env
			}
			return ""
		}
		if got := waitsToStart(c.argv, getenv); got != c.waits {
			t.Errorf("%s: %v", line, got)
		}
	}
}
