package report

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

func junitOf(t testing.TB, r *Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// valid holds a report against the schema, with libxml2's validator.
// valid validates a report, where that is possible.
func valid(t *testing.T, name string, doc []byte) {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Logf("%s is not validated: %v", name, err)
		return
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, doc, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("xmllint", "--nonet", "--noout", "--schema", filepath.Join("testdata", "junit.xsd"), file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	p, opt := sample(t)
	state := junitOf(t, p.build(opt))
	golden(t, "report.xml", state)
	opt.Run = failedRun
	run := junitOf(t, p.build(opt))
	golden(t, "run.xml", run)
	empty := newProject(t)
	empty.commit(day(1, 0), "nothing")
	none := junitOf(t, empty.build(Options{}))

	// What no XML may have in it (XML 1.0, 2.2) is there to be read.
	all := &Report{At: day(1, 0)}
	all.Run = "RUN1"
	for _, s := range append([]note.Status{"of-later"}, severities...) {
		all.Stacks = append(all.Stacks, Stack{Path: "/\x01\ufffe " + string(s), Target: "\x00\n", History: []Result{{Status: s,
			Record: note.Record{Run: "RUN1", Status: s, Reason: "\x1b[31m]]><!-- \xff & \"quoted\"\n\ud7ff"}}}})
	}
	strange := junitOf(t, all)
	if !strings.Contains(string(strange), `\u0001`) || !strings.Contains(string(strange), `\u001b[31m`) {
		t.Errorf("%s", strange)
	}
	all.Run = ""
	for i := range all.Stacks {
		all.Stacks[i].Status = all.Stacks[i].History[0].Status
	}
	strangeState := junitOf(t, all)

	// The numbers are those of the cases.
	for name, doc := range map[string][]byte{"state": state, "run": run, "none": none, "strange": strange, "strange state": strangeState} {
		var all junitSuites
		if err := xml.Unmarshal(doc, &all); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, doc)
		}
		for _, s := range all.Suites {
			n := [4]int{s.Tests, s.Failures, s.Errors, s.Skipped}
			for _, c := range s.Cases {
				n[0]--
				for i, is := range []*junitResult{c.Failure, c.Error, c.Skipped} {
					if is != nil {
						n[i+1]--
					}
				}
			}
			if n != [4]int{} || len(s.Cases) == 0 {
				t.Errorf("%s: suite %s is off by %v", name, s.Name, n)
			}
		}
	}
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint, of libxml2-utils, is not here to validate it")
	}
	for name, doc := range map[string][]byte{"report.xml": state, "run.xml": run, "none.xml": none, "strange.xml": strange, "strange-state.xml": strangeState} {
		valid(t, name, doc)
	}
	// The schema is one that refuses.
	bad := bytes.Replace(run, []byte(` timestamp="`), []byte(` date="`), 1)
	file := filepath.Join(t.TempDir(), "bad.xml")
	if err := os.WriteFile(file, bad, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("xmllint", "--nonet", "--noout", "--schema", filepath.Join("testdata", "junit.xsd"), file).Run(); err == nil {
		t.Error("a suite without a timestamp is valid")
	}
}
