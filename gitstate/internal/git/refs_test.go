package git

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-cmp/cmp"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

func opened(t *testing.T, dir string) *Repo {
	t.Helper()
	r, err := Open(context.Background(), dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Refs that are loose, packed, both, symbolic or broken are those that git lists.
func TestRefsAsGitHasThem(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	first := repo.Head()
	second := repo.Commit("second", nil)
	r := opened(t, repo.Dir)
	file := func(ref, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(r.RefPath(ref)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.RefPath(ref), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	patterns := [][]string{{"refs/t/"}, {"refs/t/a"}, {"refs/t/a", "refs/t/a-spool/", "refs/none", "refs/none/"}, {"refs/heads/", "refs/t/d/"}}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"none", func() {}},
		{"loose", func() {
			for _, ref := range []string{"a", "a-spool/x", "a-spool/y/z", "d/e"} {
				repo.Git("update-ref", "refs/t/"+ref, first)
			}
		}},
		{"packed", func() { repo.Git("pack-refs", "--all", "--prune") }},
		{"both, and the loose one wins", func() { repo.Git("update-ref", "refs/t/a", second) }},
		{"annotated tags are peeled in packed-refs", func() {
			repo.Git("tag", "-a", "-m", "v", "v1")
			repo.Git("update-ref", "refs/t/d/tag", repo.Git("rev-parse", "v1"))
			repo.Git("pack-refs", "--all", "--no-prune")
		}},
		{"a lock, and what is no ref", func() {
			file("refs/t/a.lock", "")
			file("refs/t/.hidden", "x")
		}},
		{"deleted", func() { repo.Git("update-ref", "-d", "refs/t/d/e") }},
		{"symbolic", func() { repo.Git("symbolic-ref", "refs/t/d/sym", "refs/heads/main") }},
		{"broken", func() {
			repo.Git("symbolic-ref", "-d", "refs/t/d/sym")
			file("refs/t/a-spool/broken", "no hash\n")
		}},
		{"empty", func() { file("refs/t/a-spool/broken", "") }},
		{"a folder in place of a ref", func() {
			for _, file := range []string{"refs/t/a-spool/broken", "refs/t/a.lock"} {
				if err := os.Remove(r.RefPath(file)); err != nil {
					t.Fatal(err)
				}
			}
			repo.Git("update-ref", "-d", "refs/t/a")
			repo.Git("update-ref", "refs/t/a/b", second)
		}},
	} {
		step.do()
		for _, p := range patterns {
			want := map[string]plumbing.Hash{}
			out, err := repo.Command(append([]string{"for-each-ref", "--format=%(objectname) %(refname)"}, p...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(want, readRefs(string(out)))
			_, loose := r.looseRefs(p)
			_, packed := r.packedRefs(func(string) bool { return true })
			if asked := step.name == "symbolic" || step.name == "broken" || step.name == "empty"; !packed || !loose && !asked {
				t.Errorf("%s: %q are left to git", step.name, p)
			}
			got, err := r.Refs(context.Background(), p...)
			if err != nil {
				t.Fatal(err)
			}
			// git lists what is below a name, too.
			maps.DeleteFunc(want, func(ref string, _ plumbing.Hash) bool {
				return p[0] == "refs/t/a" && strings.HasPrefix(ref, "refs/t/a/")
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %q (-git +here):\n%s", step.name, p, diff)
			}
			for ref, at := range want {
				if got, err := r.Resolve(ref); err != nil || got != at {
					t.Errorf("%s: %s is %s, %v; want %s", step.name, ref, got, err, at)
				}
			}
		}
		if at, err := r.Resolve("refs/none"); err != nil || !at.IsZero() {
			t.Errorf("%s: refs/none is %s, %v", step.name, at, err)
		}
	}
}

// HEAD is read here where it is a branch or a commit, and what else it is, is asked of git.
func TestHeadAsGitHasIt(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	first := repo.Head()
	repo.Commit("second", nil)
	linked := filepath.Join(t.TempDir(), "linked")
	for _, step := range []struct {
		name string
		args []string
		dir  string
	}{
		{name: "a branch", args: []string{"status"}, dir: repo.Dir},
		{name: "packed", args: []string{"pack-refs", "--all"}, dir: repo.Dir},
		{name: "detached", args: []string{"checkout", "-q", first}, dir: repo.Dir},
		{name: "a linked work tree", args: []string{"worktree", "add", "-q", "-b", "other", linked, "main"}, dir: linked},
		{name: "the other one is where it was", args: []string{"status"}, dir: repo.Dir},
		{name: "a symbolic ref", args: []string{"symbolic-ref", "refs/heads/alias", "refs/heads/other"}, dir: repo.Dir},
		{name: "of a symbolic ref", args: []string{"symbolic-ref", "HEAD", "refs/heads/alias"}, dir: repo.Dir},
		{name: "replaced", args: []string{"replace", repo.Git("rev-parse", "main"), first}, dir: repo.Dir},
	} {
		repo.Git(step.args...)
		want, err := repo.Command("-C", step.dir, "cat-file", "commit", "HEAD").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, rev := range []string{"HEAD", "HEAD^{commit}"} {
			h, kind, body, err := opened(t, step.dir).Lookup(rev)
			if err != nil || kind != plumbing.CommitObject || string(body) != string(want) {
				t.Errorf("%s: %s is %s, a %v, %v", step.name, rev, h, kind, err)
			}
		}
	}
	repo.Git("checkout", "-q", "--orphan", "unborn")
	if h, _, _, err := opened(t, repo.Dir).Lookup("HEAD"); err == nil {
		t.Errorf("an unborn branch is %s", h)
	}
	if _, _, _, err := opened(t, repo.Dir).Lookup("ref: refs/heads/other"); err == nil {
		t.Error("what stands in HEAD is taken for a name")
	}
}

// What Before finds comes before, as git says, and near ones are all found.
func TestBeforeAsGitSays(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	tree := repo.Git("rev-parse", "HEAD^{tree}")
	random := rand.New(rand.NewPCG(3, 4))
	commits := []string{repo.Head()}
	for i := range 40 {
		args := []string{"commit-tree", tree, "-m", fmt.Sprint(i)}
		for range 1 + random.IntN(2) {
			args = append(args, "-p", commits[max(0, len(commits)-1-random.IntN(6))])
		}
		commits = append(commits, repo.Git(args...))
	}
	r := opened(t, repo.Dir)
	for _, head := range commits {
		ask, want := map[string]bool{}, map[string]bool{}
		for _, c := range commits {
			ask[c] = true
		}
		for c := range strings.FieldsSeq(repo.Git("rev-list", head)) {
			want[c] = true
		}
		delete(want, head)
		if diff := cmp.Diff(want, r.Before(plumbing.NewHash(head), ask)); diff != "" {
			t.Errorf("before %s (-git +here):\n%s", head, diff)
		}
	}
}
