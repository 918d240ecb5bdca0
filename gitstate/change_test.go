package gitstate_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// Which commits a pull request is, by what forges write on the mainline.
func TestPullRequestOfMainline(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		messages string // of commits, oldest first, with | between
		want     string // the first and the last of them, counted from 0
	}{
		"GitHub, merged":             {"a|Merge pull request #12 from x\n\nTitle|b", "1 1"},
		"another number":             {"a|Merge pull request #123 from x|Merge pull request #1 from y", ""},
		"squashed":                   {"a|Title (#12)|b", "1 1"},
		"squashed, another":          {"a|Title (#123)|Title #12|Title (#12) more", ""},
		"reverted since":             {"Title (#12)|Revert \"Title (#12)\" (#13)", "0 0"},
		"the revert itself":          {"Title (#11)|Revert \"Title (#11)\" (#12)", "1 1"},
		"rebased, each named":        {"a|One (#12)|Two (#12)|b", "1 2"},
		"named twice, long apart":    {"Two (#12)|b|Two again (#12)", "2 2"},
		"a merge is more than names": {"Merge pull request #12 from x|Notes (#12)|b", "1 1"},
		"GitLab":                     {"a|Merge branch 'x' into 'main'\n\nTitle\n\nSee merge request group/sub/project!12", "1 1"},
		"GitLab, another":            {"a|Merge branch 'x' into 'main'\n\nSee merge request group/project!120", ""},
		"Gitea, Forgejo":             {"a|Merge pull request 'Title' (#12) from x into main", "1 1"},
		"Bitbucket":                  {"a|Merged in x (pull request #12)\n\nTitle", "1 1"},
		"Azure":                      {"a|Merged PR 12: Title", "1 1"},
		"only mentioned":             {"Fixes #12|See #12 (#11)|like !12", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.New(t)
			var commits []string
			for message := range strings.SplitSeq(tt.messages, "|") {
				commits = append(commits, repo.Commit(message, map[string]string{"f": message}))
			}
			s, err := gitstate.Open(context.Background(), gitstate.Options{Dir: repo.Dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			c, err := s.PullRequest(context.Background(), 12, "nothing", "HEAD")
			got := ""
			if err == nil {
				first := slices.IndexFunc(commits, func(h string) bool { return strings.TrimSpace(repo.Git("rev-parse", h+"^")) == c.From })
				got = strings.TrimSpace(strings.Join([]string{string(rune('0' + first)), string(rune('0' + slices.Index(commits, c.Commit.Hash)))}, " "))
			} else if !errors.Is(err, gitstate.ErrNoPR) {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("%q, not %q", got, tt.want)
			}
		})
	}
}

// What a pull request brought is told by the files that it changed: a squash has them all, the last commit
// of a rebase does not, and another merge is no part of it.
func TestBrought(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	commit := func(name string) string { return repo.Commit(name, map[string]string{name: name}) }
	first := commit("first")
	a, b := commit("dir/a b"), commit("b")
	repo.Git("checkout", "-q", "-b", "other")
	other := commit("other")
	repo.Git("checkout", "-q", "-")
	repo.Git("merge", "-q", "--no-ff", "-m", "merge", "other")
	merge := strings.TrimSpace(repo.Git("rev-parse", "HEAD"))
	c := commit("c")
	repo.Git("config", "diff.relative", "true")
	s, err := gitstate.Open(context.Background(), gitstate.Options{Dir: filepath.Join(repo.Dir, "dir")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, tt := range []struct{ last, files, want string }{
		{b, "b", a},
		{b, "b|dir/a b", first},
		{b, "", a},
		{merge, "other", b},
		{merge, "other|b", b},
		{c, "c", merge},
		{c, "c|other", ""},
		{c, "nowhere", ""},
		{other, "other|b|dir/a b", first},
	} {
		files := strings.FieldsFunc(tt.files, func(r rune) bool { return r == '|' })
		if got, err := s.Brought(context.Background(), tt.last, files); err != nil || got != tt.want {
			t.Errorf("%q by %s: before it was %q, not %q: %v", files, tt.last, got, tt.want, err)
		}
	}
}
