package note

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// mustLine encodes a record of a test.
func lineOf(r Record) string {
	line, err := r.Line()
	if err != nil {
		panic(err)
	}
	return line
}

func recordAt(sec int, status Status, op, stack, run string, prev ...string) Record {
	return Record{At: gittest.T0.Add(time.Duration(sec) * time.Second), Status: status, Op: op, Stack: stack, Run: run, Prev: prev}
}

func TestNormal(t *testing.T) {
	t.Parallel()
	line := func(sec int, status Status, op, run string) string {
		return lineOf(recordAt(sec, status, op, "/a", run))
	}
	queued, running, ok := line(0, Queued, Deploy, "r1"), line(1, Running, Deploy, "r1"), line(2, OK, Deploy, "r1")
	other := recordAt(5, OK, Deploy, "/a", "r1")
	other.Target = "prod"
	failed := recordAt(3, Failed, Deploy, "/a", "r1")
	variant := recordAt(9, Drifted, Drift, "/a", "r9")
	variant.Variant = "x"
	stone := func(of string, sec int) string {
		return lineOf(Tombstone(of, Record{At: gittest.T0.Add(time.Duration(sec) * time.Second), Reason: "by mistake", Run: "f"}))
	}
	byHand := "a note by hand"
	for name, c := range map[string]struct{ in, want []string }{
		"empty":                                {nil, nil},
		"sorted, once":                         {[]string{ok, byHand, ok, "", " \t", byHand}, []string{byHand, ok}},
		"queued and running are void":          {[]string{ok, running, queued}, []string{ok}},
		"queued is void":                       {[]string{queued, running}, []string{running}},
		"of an earlier final line they stay":   {[]string{ok, line(3, Queued, Deploy, "r1")}, []string{ok, line(3, Queued, Deploy, "r1")}},
		"of equal times they stay":             {[]string{line(2, Queued, Deploy, "r1"), ok}, []string{ok, line(2, Queued, Deploy, "r1")}},
		"another run":                          {[]string{queued, line(2, OK, Deploy, "r2")}, []string{queued, line(2, OK, Deploy, "r2")}},
		"another target":                       {[]string{queued, lineOf(other)}, []string{queued, lineOf(other)}},
		"final lines stay":                     {[]string{ok, lineOf(failed)}, []string{ok, lineOf(failed)}},
		"drift that repeats":                   {[]string{line(1, Drifted, Drift, "r1"), line(2, Drifted, Drift, "r2"), line(3, OK, Drift, "r3")}, []string{line(2, Drifted, Drift, "r2"), line(3, OK, Drift, "r3")}},
		"drift of another command":             {[]string{line(1, Drifted, Drift, "r1"), lineOf(variant)}, []string{line(1, Drifted, Drift, "r1"), lineOf(variant)}},
		"queued drift before another's result": {[]string{line(0, Queued, Drift, "r1"), line(2, Drifted, Drift, "r2")}, []string{line(2, Drifted, Drift, "r2")}},
		"forgotten":                            {[]string{ok, byHand, stone(ok, 9), stone(byHand, 9)}, []string{stone(ok, 9), stone(byHand, 9)}},
		"forgotten stands in":                  {[]string{queued, stone(ok, 9)}, []string{stone(ok, 9)}},
		"tombstones stay":                      {[]string{stone(ok, 9), stone(stone(ok, 9), 10)}, []string{stone(ok, 9), stone(stone(ok, 9), 10)}},
		"event":                                {[]string{lineOf(Record{At: gittest.T0, Event: Finished, Run: "r1"}), queued}, []string{lineOf(Record{At: gittest.T0, Event: Finished, Run: "r1"}), queued}},
	} {
		slices.Sort(c.want)
		if got := Normal(strings.Join(c.in, "\n")); got != JoinLines(c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, JoinLines(c.want))
		}
	}
}

// drawLines are lines of every kind over few stacks, runs and times, so that
// they have much to do with each other.
func drawLines(t *rapid.T, label string) []string {
	var lines []string
	for i := range rapid.IntRange(0, 12).Draw(t, label) {
		r := Record{At: gittest.T0.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "at")) * time.Second),
			Status:  rapid.SampledFrom([]Status{Queued, Queued, Running, OK, Failed, Drifted, Drifted, "later"}).Draw(t, "status"),
			Op:      rapid.SampledFrom([]string{Deploy, Drift, Drift, Drift}).Draw(t, "op"),
			Stack:   rapid.SampledFrom([]string{"/a", "/a", "/b"}).Draw(t, "stack"),
			Variant: rapid.SampledFrom([]string{"", "", "v"}).Draw(t, "variant"),
			Run:     rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(t, "run")}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			lines = append(lines, rapid.SampledFrom([]string{"by hand", "at=x", "at=2026-11-23T15:10:13.520Z event=forgotten x", "z\r", "\x00"}).Draw(t, "odd"))
			continue
		case 1:
			lines = append(lines, lineOf(Record{At: r.At, Event: rapid.SampledFrom([]string{Started, Finished}).Draw(t, "event"), Run: r.Run}))
			continue
		case 2, 3:
			of := lineOf(r)
			if i%3 == 0 {
				of = "by hand"
			}
			lines = append(lines, lineOf(Tombstone(of, Record{At: r.At.Add(time.Minute), Run: "f"})))
			continue
		}
		lines = append(lines, lineOf(r))
	}
	return lines
}

func TestMergeProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := JoinLines(drawLines(t, "a")), JoinLines(drawLines(t, "b")), JoinLines(drawLines(t, "c"))
		want := Normal(a, b, c)
		for name, got := range map[string]string{
			"commutative":      Normal(c, a, b),
			"associative left": Normal(Normal(a, b), c),
			"right":            Normal(a, Normal(b, c)),
			"of normal ones":   Normal(Normal(a), Normal(b), Normal(c)),
			"idempotent":       Normal(want, want, a),
		} {
			if got != want {
				t.Fatalf("%s:\n got %s\nwant %s", name, got, want)
			}
		}
	})
}

// Over what git itself makes of two clones' notes.
func TestMergeAfterGit(t *testing.T) {
	t.Parallel()
	repo := gittest.New(t)
	head := repo.Head()
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		if rounds++; rounds > 12 { // three git commands each
			return
		}
		base, a, b := JoinLines(drawLines(t, "base")), JoinLines(drawLines(t, "a")), JoinLines(drawLines(t, "b"))
		set := func(ref, text string) {
			if _, err := repo.Try("notes", "--ref="+ref, "add", "-f", "--allow-empty", "-m", text, head); err != nil {
				t.Fatal(err)
			}
		}
		plain := strings.NewReplacer("\x00", "0", "\r", "") // which git notes -m would change
		a, b, base = plain.Replace(a), plain.Replace(b), plain.Replace(base)
		ours, theirs := fmt.Sprintf("ours%d", rounds), fmt.Sprintf("theirs%d", rounds)
		set(ours, base)
		repo.Git("update-ref", "refs/notes/"+theirs, "refs/notes/"+ours)
		set(ours, Normal(base, a))
		set(theirs, Normal(base, b))
		repo.Git("notes", "--ref="+ours, "merge", "-q", "-s", "cat_sort_uniq", theirs)
		merged, _ := repo.Try("notes", "--ref="+ours, "show", head)
		if got, want := Normal(merged), Normal(base, a, b); got != want {
			t.Fatalf("\n got %s\nwant %s", got, want)
		}
	})
}

func FuzzNote(f *testing.F) {
	line := lineOf(recordAt(1, OK, Deploy, "/a", "r1"))
	f.Add("by hand\n\n" + line + "\n" + lineOf(recordAt(0, Queued, Deploy, "/a", "r1")))
	f.Add(lineOf(Tombstone(line, Record{At: gittest.T0, Run: "f"})) + "\n" + line)
	f.Add("a\r\nb\n\x00\xff")
	f.Fuzz(func(t *testing.T, text string) {
		n := Normal(text)
		if again := Normal(n); again != n {
			t.Fatalf("not idempotent:\n%q\n%q", n, again)
		}
		if Normal(text, n) != n {
			t.Fatal("a note merged with its own normal form is another")
		}
		kept := map[string]bool{}
		for _, l := range AppendLines(nil, n) {
			kept[l] = true
		}
		dead := map[string]bool{}
		lines := AppendLines(nil, text)
		for _, l := range lines {
			if r, err := ParseRecord(l); err == nil && r.Event == Forgotten {
				dead[r.Digest] = true
			}
		}
		for _, l := range lines {
			r, err := ParseRecord(l)
			gone := dead[Digest(l)] && r.Event != Forgotten || err == nil && (r.Status.Open() || r.Op == Drift && r.Status != "")
			if !kept[l] && !gone {
				t.Fatalf("lost %q of %q", l, text)
			}
		}
	})
}
