package cli

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

func TestDoctorClock(t *testing.T) {
	t.Parallel()
	s, err := gitstate.Open(t.Context(), gitstate.Options{Dir: gittest.New(t).Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tc := range []struct {
		timed bool
		ahead time.Duration
		now   time.Duration
		want  string
	}{
		{true, 0, 0, "ok"},
		{true, 9 * time.Minute, 0, "ok"},
		{true, 11 * time.Minute, 0, "problem"},
		{true, -9 * time.Minute, 0, "ok"},
		{true, -11 * time.Minute, 0, "problem"},
		{false, 0, 0, "ok"},
		{false, 0, -time.Hour, "warning"}, // HEAD was committed an hour from now
	} {
		d := &doctor{c: cli.NewContext(nil, flag.NewFlagSet("", 0), &cli.Context{Context: context.Background()}), s: s, remote: "origin",
			view: gitstate.RemoteView{Timed: tc.timed, Ahead: tc.ahead}, now: func() time.Time { return time.Now().Add(tc.now) }}
		d.clock()
		if len(d.found) != 1 || d.found[0].Level != tc.want {
			t.Errorf("%+v: %+v", tc, d.found)
		}
	}
}

// A check that breaks does not hide what the others find.
func TestDoctorSurvives(t *testing.T) {
	t.Parallel()
	d := &doctor{dir: t.TempDir(), getenv: func(string) string { panic("no environment") }, ci: deploy.CI{Name: "github"}}
	d.c = cli.NewContext(cli.NewApp(), flag.NewFlagSet("", 0), &cli.Context{Context: context.Background()})
	d.examine()
	levels := map[string]string{}
	for _, f := range d.found {
		levels[f.Check] = f.Level
	}
	if levels["git"] != "ok" || levels["repository"] != "problem" || levels["ci"] != "problem" || levels["terraform"] == "" {
		t.Errorf("%+v", d.found)
	}
}

func TestGitNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[string][2]int{
		"2.39.5": {2, 39}, "2.39.5 (Apple Git-154)": {2, 39}, "2.45.0.windows.1": {2, 45}, "3.0": {3, 0}, "2": {2, 0}, "2.31.GIT": {2, 31}, "": {0, 0},
	} {
		if got := gitNumber(v); got != want {
			t.Errorf("%q is %v, want %v", v, got, want)
		}
	}
}

func TestIsLocalPath(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]string{
		"/srv/infra.git": "both", "../infra": "both", "infra": "both", "./a:b": "both", "file:///srv/infra.git": "both",
		`C:\infra`: "windows", "C:/infra": "windows", `\\server\share\a:b`: "windows",
		"git@host:infra.git": "", "host:C:/infra": "", "ssh://git@host/infra.git": "", "git://host/infra": "",
	} {
		for _, system := range []string{"linux", "darwin", "windows"} {
			if got := isLocalPath(where, system); got != (want == "both" || want == system) {
				t.Errorf("%s on %s: %v", where, system, got)
			}
		}
	}
}
