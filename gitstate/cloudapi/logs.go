package cloudapi

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/terramate-io/terramate/cloud/api/resources"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// output is what the command of a stack said so far: the ends of its streams,
// for the reason of a failure, and what is kept of all of it.
type output struct {
	stdout, stderr []byte
	all            *note.Excerpt
}

// tailLength is how much of the end of each stream is looked at for a reason.
const tailLength = 16 << 10

func (o *output) add(lines resources.CommandLogs, keep bool) {
	for _, l := range lines {
		to := &o.stdout
		if l.Channel == resources.StderrLogChannel {
			to = &o.stderr
		}
		*to = append(append(*to, l.Message...), '\n')
		if over := len(*to) - tailLength; over > 0 {
			*to = append([]byte(nil), (*to)[over:]...)
		}
		if keep {
			if o.all == nil {
				o.all = &note.Excerpt{Limit: gitstate.TextLimit}
			}
			_, _ = o.all.Write([]byte(l.Message + "\n"))
		}
	}
}

func readLogs(r *http.Request) (resources.CommandLogs, error) {
	lines, err := decode[resources.CommandLogs](r)
	if err != nil {
		return nil, err
	}
	for _, l := range lines {
		if l == nil || l.Validate() != nil || !utf8.ValidString(l.Message) {
			return nil, bad("a line of a log needs a channel and a timestamp, and is UTF-8")
		}
	}
	return lines, nil
}

// logs takes the output of a drift run's or a preview's command.
func (s *Server) logs(r *http.Request) (any, error) {
	lines, err := readLogs(r)
	if err != nil {
		return nil, err
	}
	op := note.Drift
	if strings.HasPrefix(r.URL.Path, "/v1/stack_previews/") {
		op = previewOp
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, e, err := s.entryOf(r.Context(), r.PathValue("id"), op)
	if err != nil {
		return nil, err
	}
	e.out.add(lines, s.keepsLogs())
	return nil, nil
}

func textKey(kind string, r *note.Record) gitstate.TextKey {
	return gitstate.TextKey{Kind: kind, ID: r.ID, Path: r.Stack, Target: r.Target, Op: r.Op, Run: r.Run}
}

// keep keeps a text beside the notes. Texts are an aid: what goes wrong with one
// is not in the way of the record.
func (s *Server) keep(kind string, e *entry, text string) {
	if s.opt.DryRun || text == "" {
		return
	}
	if err := s.writer.KeepText(textKey(kind, &e.rec), text, s.redactor(e)); err != nil {
		s.warn("%v", err)
	}
}

// redactor knows the secrets of the environment in which a stack's command ran, and
// of the command itself.
func (s *Server) redactor(e *entry) *note.Redactor {
	env := s.opt.Environ
	if wt, err := s.workTree(context.Background()); err == nil {
		if own, _, err := wt.Env(e.rec.Stack); err == nil && own != nil {
			env = own
		}
	}
	return note.NewRedactor(env, append(s.words(e.cmd), s.opt.CommandLine)...)
}

// keepPlan has the record say how much a plan changes, and keeps the plan as people read it, where all that is
// printed is kept.
func (s *Server) keepPlan(e *entry, details *resources.ChangesetDetails) {
	if details == nil {
		return
	}
	var changes []note.Change
	if details.ChangesetJSON != "" {
		plan, all, err := note.ReadPlan([]byte(details.ChangesetJSON))
		if err != nil {
			s.warn("%s: the plan's JSON: %v", e.rec.Stack, err)
		} else {
			e.plan, changes = plan, all
		}
	}
	if s.opt.KeepLogs == "all" && details.ChangesetASCII != "" {
		text := &note.Excerpt{Limit: gitstate.TextLimit}
		_, _ = text.Write([]byte(details.ChangesetASCII))
		s.keep(gitstate.PlanText, e, note.KeptPlan(text, changes, gitstate.TextLimit))
	}
}

func (s *Server) keepsLogs() bool { return gitstate.KeepsLog(s.opt.KeepLogs, note.Failed) }

// keepLog keeps what the command of a stack said that has ended.
func (s *Server) keepLog(e *entry, as note.Status) {
	if e.out.all != nil && gitstate.KeepsLog(s.opt.KeepLogs, as) {
		s.keep(gitstate.LogText, e, e.out.all.String())
	}
}

// planOf is the plan of a drift run, nil if none was kept.
func (s *Server) planOf(f *gitstate.Stored) (*resources.ChangesetDetails, error) {
	text, found, err := s.store.Text(textKey(gitstate.PlanText, &f.Record))
	if err != nil || !found || text.Run != f.Run {
		return nil, err
	}
	lines, err := s.store.Note(f.Commit)
	if err != nil {
		return nil, err
	}
	d := &resources.ChangesetDetails{Provisioner: "terraform", ChangesetASCII: text.Body}
	for _, l := range lines {
		if l.Err == nil && l.Record.Event == note.Started && l.Record.Run == f.Run && strings.Contains(l.Record.Cmd, "tofu") {
			d.Provisioner = "opentofu" // the CLI's names of them (cloudsync)
		}
	}
	return d, nil
}
