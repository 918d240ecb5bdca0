//go:build unix

package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// A hold that comes while a run is under way stops what has not started, whether it was made in the clone of the run
// or in another one; what runs goes on. Nothing stays locked.
func TestHeldUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from string
		args []string
	}{
		"here":                {"work", nil},
		"here, without locks": {"work", []string{"--locks", "off"}},
		"in another clone":    {"clone0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/a", "/b", "/c:/b", "/d")
			w.clones(1)
			w.script("slow", `touch "$WORK/up.${PWD##*/}"
while test "${PWD##*/}" = a && ! test -e "$WORK/go"; do sleep 0.02; done
deploy
`)
			cmd, out := w.start("work", slices.Concat([]string{"run", "-j", "1", "--push-interval", "1h", "--op", "deploy"}, c.args, []string{"--", "slow"})...)
			w.await("the first stack", w.exists("up.a"))
			w.run(c.from, "tmnotes", "hold", "--reason", "it burns", "/a", "/b")
			if err := os.WriteFile(w.path("go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != exitFailed {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if got := strings.Join(w.ran(), " "); got != "/a /d" {
				t.Errorf("executed: %s\n%s", got, out)
			}
			for _, want := range []string{"held by Alice: it burns", "/b is held by Alice: it burns"} {
				if !strings.Contains(out.String(), " "+want+"\n") {
					t.Errorf("nothing says %q:\n%s", want, out)
				}
			}
			if locks := w.run("clone0", "tmnotes", "unlock", "--format", "json"); strings.Contains(locks, `"lease"`) {
				t.Errorf("still locked: %s", locks)
			}
		})
	}
}
