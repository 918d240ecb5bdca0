package report

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Of each run the page and the report say whether it was signed, and by whom, where it is set who may sign.
func TestSignedRuns(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	p := newProject(t)
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	allowed := filepath.Join(filepath.Dir(key), "allowed")
	if err := os.WriteFile(allowed, []byte("<deploy>@ci "+string(public)), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Git("config", "gpg.format", "ssh")
	p.Git("config", "user.signingKey", key)
	signing, err := gitstate.Open(t.Context(), gitstate.Options{Dir: p.Dir, Now: func() time.Time { return p.now }})
	if err != nil {
		t.Fatal(err)
	}
	defer signing.Close()
	signing.SignRecords("infra")

	c := p.commit(day(1, 0), "a")
	unsigned := p.records(c, day(1, 1), note.Deploy, note.Record{Status: note.OK, Stack: "/x"})
	plain := p.store
	p.store = signing
	signed := p.records(c, day(1, 2), note.Deploy, note.Record{Status: note.OK, Stack: "/x"})
	bad := p.records(c, day(1, 3), note.Deploy, note.Record{Status: note.Failed, Stack: "/x"})
	if err := signing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.store = plain
	text := p.Git("notes", "--ref=tmnotes", "show", c)
	p.Git("notes", "--ref=tmnotes", "add", "-f", "-m", strings.Replace(text, "status=failed", "status=ok", 1), c)
	if err := os.RemoveAll(filepath.Join(p.Dir, ".git", "tmnotes")); err != nil { // as in another clone
		t.Fatal(err)
	}

	opt := Options{Stacks: []Known{{Path: "/x"}}}
	page := func() string {
		var b bytes.Buffer
		if err := p.build(opt).WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, r := range p.build(opt).Runs {
		if r.Verdict != "" || r.Signed != "" {
			t.Errorf("%+v where it is not set who may sign", r)
		}
	}
	if strings.Contains(page(), "signed</small>") {
		t.Error("the page speaks of signatures where it is not set who may sign")
	}
	p.store.Accept(gitstate.Demand{Signers: allowed, Repositories: []string{"infra"}})
	want := map[string][2]string{
		unsigned: {"unsigned", "not signed"},
		signed:   {"signed", "signed by <deploy>@ci"},
		bad:      {"bad", "bad: signed by <deploy>@ci; signed, and gone: 1; not signed: 1 of 3"},
	}
	for _, r := range p.build(opt).Runs {
		if got := [2]string{r.Verdict, r.Signed}; got != want[r.Run] {
			t.Errorf("%s: %q, not %q", r.Run, got, want[r.Run])
		}
		delete(want, r.Run)
	}
	if len(want) > 0 {
		t.Errorf("the report lacks %v", want)
	}
	html := page()
	for _, mark := range []string{` <small title="signed by &lt;deploy&gt;@ci">signed</small>`, ` <small class="bad" title="not signed">not signed</small>`, `<small class="bad" title="bad: signed by`} {
		if strings.Count(html, mark) != 1 {
			t.Errorf("the page does not have %s once", mark)
		}
	}
}
