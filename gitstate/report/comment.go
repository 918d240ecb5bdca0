package report

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Comment is what is said of a pull request in the one comment on it: before the merge what that would deploy, and
// after it what came of that.
type Comment struct {
	Target string

	Preview *Preview // before the merge
	Plans   []Plan

	Merge, Subject string    // after it: the commit on the base branch
	Outcome        []Outcome // of the stacks that were announced, in order
}

// Plan is that of a stack.
type Plan struct {
	Stack  string
	Counts string // what it would change, in a few words
	Text   string
}

// Outcome is what came of a stack after a merge.
type Outcome struct {
	Stack   string
	Backlog bool   // it was announced as one of the backlog
	What    What   // came of it
	Status  string // in a word, where What does not say it
	Why     string
	Commit  string // that is deployed, or was tried last
	Job     string // of the CI that was at it
	Took    time.Duration
}

// What came of a stack.
type What int

const (
	NotYet    What = iota // it is pending, at work, held or blocked
	Unlucky               // it failed, or was canceled or interrupted
	Delivered             // it is deployed, with what the merge brought
	Dropped               // it is no stack any more
)

// Marker is the first line of the comment for a target. Nobody sees it.
func Marker(target string) string {
	// In an HTML comment there are no two hyphens.
	return "<!-- " + markerWord + " target=" + strings.ReplaceAll(url.QueryEscape(target), "-", "%2D") + " -->\n"
}

const (
	markerWord    = "tmnotes:comment"
	announcedWord = "<!-- tmnotes:announced "
	mostAnnounced = 12 << 10 // bytes in the comment
)

// announce is the line with the stacks of a preview, which Announced reads; "" where they are too many for a comment.
func announce(p *Preview) string {
	list := [2][]string{{}, {}}
	for i := range p.Stacks {
		s := &p.Stacks[i]
		k := 0
		if s.Backlog && !s.Changed {
			k = 1
		}
		list[k] = append(list[k], s.Path)
	}
	text, err := json.Marshal(list)
	var packed bytes.Buffer
	z, levelErr := zlib.NewWriterLevel(&packed, zlib.BestCompression)
	if err != nil || levelErr != nil {
		return ""
	}
	_, _ = z.Write(text)
	_ = z.Close()
	line := announcedWord + "1." + base64.StdEncoding.EncodeToString(packed.Bytes()) + " -->\n"
	if len(line) > mostAnnounced {
		return ""
	}
	return line
}

// Announced are the stacks that a comment announced before the merge, and which of them were of the backlog. It is no
// more than a list of names: whoever can edit the comment can change it.
func Announced(body string) (stacks []string, backlog map[string]bool) {
	_, rest, _ := strings.Cut(body, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	encoded, is := strings.CutPrefix(line, announcedWord+"1.")
	packed, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, " -->"))
	if !is || err != nil {
		return nil, nil
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, nil
	}
	var list [2][]string
	if json.NewDecoder(io.LimitReader(z, 4<<20)).Decode(&list) != nil {
		return nil, nil
	}
	backlog = map[string]bool{}
	for _, s := range list[1] {
		backlog[s] = true
	}
	return slices.Concat(list[0], list[1]), backlog
}

// WriteMarkdown writes the comment, no longer than limit bytes (at least 16 KiB), with its marker. kept is the body
// that it has now, "" if there is none: after the merge the stacks that this announces stay announced.
func (c *Comment) WriteMarkdown(w io.Writer, kept string, limit int) error {
	var b strings.Builder
	b.WriteString(Marker(c.Target))
	switch {
	case c.Preview != nil:
		b.WriteString(announce(c.Preview))
		room := limit - b.Len()
		if len(c.Plans) > 0 {
			room /= 2
		}
		if err := c.Preview.WriteMarkdown(&b, room); err != nil {
			return err
		}
		c.writePlans(&b, limit)
	default:
		if _, rest, _ := strings.Cut(kept, "\n"); strings.HasPrefix(rest, announcedWord) {
			line, _, _ := strings.Cut(rest, "\n")
			b.WriteString(line[:min(len(line), mostAnnounced)] + "\n")
		}
		t := c.outcomeTable()
		b.WriteString(t.markdown(limit - b.Len()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writePlans writes the plans, folded away, the shortest first: so most of them find room. Of those that do not, the
// beginning and the end do, if they are readable then.
func (c *Comment) writePlans(b *strings.Builder, limit int) {
	plans := slices.Clone(c.Plans)
	slices.SortStableFunc(plans, func(a, b Plan) int { return len(a.Text) - len(b.Text) })
	const tail, least = 200, 2 << 10
	for i, p := range plans {
		room := limit - tail - b.Len()
		title := "plan of " + code(p.Stack, 200)
		if p.Counts != "" {
			title += ": " + text(p.Counts)
		}
		section := folded(title, p.Text)
		if len(section) > room && room > least {
			section = folded(title, excerpt(p.Text, room-len(title)-least/4))
		}
		if len(section) > room {
			fmt.Fprintf(b, "\nThe plans of %d more are not shown; `tmnotes show --plan STACK` prints them.\n", len(plans)-i)
			return
		}
		b.WriteString(section)
	}
}

// Counts are how many of the announced stacks came to what.
func (c *Comment) Counts() (n [4]int) {
	for _, o := range c.Outcome {
		n[o.What]++
	}
	return n
}

// Summary is what came of the merge in a line.
func (c *Comment) Summary() string {
	n := c.Counts()
	all := len(c.Outcome) - n[Dropped]
	if all == 0 {
		return "nothing to deploy"
	}
	says := []string{fmt.Sprintf("%d of %d deployed", n[Delivered], all)}
	if n[Unlucky] > 0 {
		says = append(says, fmt.Sprintf("%d failed", n[Unlucky]))
	}
	if n[NotYet] > 0 {
		says = append(says, fmt.Sprintf("%d outstanding", n[NotYet]))
	}
	return strings.Join(says, ", ")
}

// Done says that nothing is outstanding, Failed that something did not succeed.
func (c *Comment) Done() bool   { n := c.Counts(); return n[NotYet]+n[Unlucky] == 0 }
func (c *Comment) Failed() bool { return c.Counts()[Unlucky] > 0 }

func (c *Comment) outcomeTable() table {
	t := table{columns: []string{"status", "stack", "at", "time", "job", "why"}, none: "Nothing was to be deployed.",
		head: "### tmnotes: merged as " + code(short(c.Merge), 12)}
	if c.Subject != "" {
		t.head += " " + code(c.Subject, 80)
	}
	if c.Target != "" {
		t.head += ", to " + code(c.Target, 60)
	}
	t.head += "\n\n**" + text(c.Summary()) + "**\n"
	for _, what := range []What{Unlucky, NotYet, Delivered, Dropped} {
		for i := range c.Outcome {
			o := &c.Outcome[i]
			if o.What != what {
				continue
			}
			status, why := icon(note.OK), o.Why
			switch o.What {
			case NotYet:
				status = "⏳ " + text(o.Status)
			case Unlucky:
				status = "❌ " + text(o.Status)
			case Dropped:
				status = "➖ removed"
			}
			if o.Backlog {
				status += ", backlog"
			}
			t.row(what == Delivered || what == Dropped, status, code(o.Stack, 200), code(short(o.Commit), 12), took(o.Took), job(o.Job), code(why, 300))
		}
	}
	t.fold = fmt.Sprintf("%d deployed", c.Counts()[Delivered])
	return t
}
