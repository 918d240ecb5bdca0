package gitstate

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

func TestFileName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"origin": "origin", "team/origin": "team_origin", `a\b`: "a_b", "C:x": "C_x", `a*?"<>|b`: "a______b", "12-34.5": "12-34.5", "für": "für",
	} {
		if got := fileName(name); got != want {
			t.Errorf("%q is %q, not %q", name, got, want)
		}
	}
	// One that says where else it could be written stays in its folder.
	s := open(t, gittest.New(t).Dir)
	g, err := s.Group(context.Background(), "../../1-2")
	noError(t, err)
	done := 0
	for range 2 {
		noError(t, g.Once(context.Background(), `fetch-../a\b:c`, time.Hour, func() error { done++; return nil }))
	}
	if in, _ := filepath.Rel(s.GitDir(), g.dir); done != 1 || filepath.Dir(in) != filepath.Join("tmnotes", "groups") {
		t.Errorf("done %d times, in %s", done, in)
	}
}

// ~ is the home folder in the way of each system.
func TestSignersAtHome(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	home := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(home, "signers"), []byte("# nobody\n"), 0o600))
	env := slices.DeleteFunc(gittest.Env(home), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"HOME", "HOMEDRIVE", "HOMEPATH", "USERPROFILE"}, name)
	})
	for _, set := range [][]string{{"HOME=" + home, "USERPROFILE=/none"}, {"USERPROFILE=" + home}, {"HOMEDRIVE=" + filepath.VolumeName(home), "HOMEPATH=" + home[len(filepath.VolumeName(home)):], "USERPROFILE=/none"}} {
		s := openWith(t, Options{Dir: r.Dir, Environ: append(slices.Clip(env), set...)})
		s.Accept(Demand{Signers: "~/signers"})
		if allowed, _, err := s.signersFile(); err != nil || !strings.Contains(string(allowed), "nobody") {
			t.Errorf("%q: %q, %v", set, allowed, err)
		}
	}
	homeless := openWith(t, Options{Dir: r.Dir, Environ: env})
	homeless.Accept(Demand{Signers: "~/signers"})
	if _, _, err := homeless.signersFile(); err == nil || !strings.Contains(err.Error(), "HOME is not set") {
		t.Errorf("without a home: %v", err)
	}
}

// More paths than a command line has room for: 32 KiB on Windows, 2 MiB on Linux.
func TestBetweenManyPaths(t *testing.T) {
	t.Parallel()
	r := gittest.New(t)
	r.Commit("of a", map[string]string{"a/x": "1"})
	r.Commit("of b", map[string]string{"b/x": "1"})
	paths := make([]string, 1000)
	for i := range paths {
		paths[i] = fmt.Sprintf("/%s/%d", strings.Repeat("long", 700), i)
	}
	found, err := open(t, r.Dir).Between(context.Background(), "", r.Head(), 10, append(paths, "/a")...)
	if err != nil || len(found) != 1 || found[0].Subject != "of a" {
		t.Errorf("%v, %v", found, err)
	}
}
