package cli

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// noted are scripts of which every note that they leave behind is compared with a file, so that
// nobody changes what is recorded (what a record follows, which time it gets, whether it stays
// here) without seeing it.
var noted = []string{"adopt", "attempts", "claims", "cloud", "cloud_targets", "diverged", "drift", "exec_stock", "flaky", "forget", "legs", "local",
	"operations", "pending_triggers", "plan_file", "resume", "resume_clones", "two_ids", "waves"}

// keepsNotes compares the notes that a script has left in its repositories with
// testdata/notes/SCRIPT.txt.
func keepsNotes(t *testing.T, work string, env []string) {
	script := strings.TrimPrefix(filepath.Base(work), "script-")
	if _, err := exec.LookPath("terraform"); err != nil || !slices.Contains(noted, script) {
		return // without it some skip something
	}
	if script == "exec_stock" && !testing.Short() {
		return // it has more stacks then
	}
	git := func(dir string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = env
		out, _ := cmd.Output() // a ref that is not there has nothing
		return string(out)
	}
	var b strings.Builder
	said := map[string]string{}
	for _, dir := range repositories(work) {
		if _, err := os.Stat(filepath.Join(dir, "tmnotes-test-broken")); err == nil {
			continue
		}
		for _, ref := range []string{"refs/notes/tmnotes", "refs/tmnotes/local/tmnotes"} {
			name, _ := filepath.Rel(work, dir)
			name += " " + ref
			if text := notesOf(func(args ...string) string { return git(dir, args...) }, ref); text != "" {
				if was := said[text]; was != "" {
					text = "as " + was + "\n"
				} else {
					said[text] = name
				}
				fmt.Fprintf(&b, "== %s\n%s\n", name, text)
			}
		}
	}
	gittest.Golden(t, "notes/"+script+".txt", withoutChance(strings.ReplaceAll(b.String(), work, "$WORK")))
}

// What is compared is of scripts that there are, and no file is left over.
func TestNotedScripts(t *testing.T) {
	t.Parallel()
	var want []string
	for _, script := range noted {
		want = append(want, filepath.Join("testdata", "notes", script+".txt"))
		if _, err := os.Stat(filepath.Join("testdata", "script", script+".txtar")); err != nil {
			t.Error(err)
		}
	}
	if files, err := filepath.Glob(filepath.Join("testdata", "notes", "*")); err != nil || !slices.Equal(files, want) {
		t.Errorf("%q are kept, not %q: %v", files, want, err)
	}
}

// notesOf are all notes of a ref, by commit, and in each of them what is of one stack in the order
// of the times.
func notesOf(git func(args ...string) string, ref string) string {
	type noteOf struct{ at, commit, text string }
	var notes []noteOf
	subjects := map[string]string{}
	for entry := range strings.Lines(git("ls-tree", "-r", ref)) {
		object, path, _ := strings.Cut(strings.TrimSuffix(entry, "\n"), "\t")
		commit := strings.ReplaceAll(path, "/", "")
		at, subject, _ := strings.Cut(strings.TrimSpace(git("log", "-1", "--format=%ct %s", commit)), " ")
		subjects[commit] = "«" + subject + "»"
		lines := strings.SplitAfter(git("cat-file", "blob", strings.Fields(object)[2]), "\n")
		slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(stackOf.FindString(a), stackOf.FindString(b)) })
		notes = append(notes, noteOf{at, commit, strings.Join(lines, "")})
	}
	slices.SortFunc(notes, func(a, b noteOf) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.commit, b.commit)) })
	var b strings.Builder
	for _, n := range notes {
		b.WriteString("-- " + n.commit + "\n" + n.text)
	}
	text := b.String()
	for commit, subject := range subjects {
		text = strings.ReplaceAll(text, commit, subject)
	}
	return text
}

var (
	stackOf = regexp.MustCompile(` stack=\S+`)
	runID   = regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`)
	chances = regexp.MustCompile(`\b(at|was|ct|took|inputs|since|variant|digest|triggers)=\S+|[0-9a-f]{12,}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// withoutChance numbers the runs in the order in which they began, and leaves out what differs from run to
// run of the test.
func withoutChance(text string) string {
	runs := map[string]bool{}
	for _, run := range runID.FindAllString(text, -1) {
		runs[run] = true
	}
	for i, run := range slices.Sorted(maps.Keys(runs)) {
		text = strings.NewReplacer(run, fmt.Sprint("RUN", i+1), note.ShortRun(run), fmt.Sprint("RUN", i+1)).Replace(text)
	}
	return chances.ReplaceAllString(text, "$1…")
}
