//go:build ignore

// Screens runs a command on a pseudo-terminal of a fixed size, and draws as SVG what is to be seen there in
// the end. It is started by scripts/screens:
//
//	screens [-columns N] [-rows N] FILE.svg COMMAND [ARGUMENT...]
//	screens -older DURATION    moves the times of a note's lines, from stdin to stdout, into the past
//	screens -sum               a digest of a page on stdin, which is the same for what screens calls the same
//
// What is another each time is replaced before it is drawn, by something of the same width: see settled.
package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"github.com/oklog/ulid/v2"
)

var (
	columns = flag.Int("columns", 100, "width of the terminal")
	rows    = flag.Int("rows", 30, "height of the terminal")
	older   = flag.Duration("older", 0, "by how much the lines of a note are to be older")
	sum     = flag.Bool("sum", false, "print the digest of a page")
)

func main() {
	flag.Parse()
	if err := run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "screens:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if *sum || *older > 0 {
		text, err := io.ReadAll(os.Stdin)
		if err == nil && *sum {
			fmt.Println(digest(string(text)))
		} else if err == nil {
			fmt.Print(aged(string(text)))
		}
		return err
	}
	if len(args) < 2 {
		return errors.New("which FILE, and which COMMAND?")
	}
	raw, err := printed(args[1:])
	if err != nil {
		return err
	}
	text, err := settled(raw)
	if err != nil {
		return err
	}
	command := strings.Join(args[1:], " ")
	term := vt10x.New(vt10x.WithSize(*columns, *rows))
	// The emulator does not know of faint letters, and nobody here prints blinking ones.
	text = strings.ReplaceAll(text, "\x1b[2m", "\x1b[5m")
	fmt.Fprintf(term, "\x1b[1m$ %s\x1b[0m\r\n%s\x1b[1m$ \x1b[0m", command, text)
	picture, err := draw(term, command)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], picture, 0o644)
}

// printed is all that a command prints on a terminal. How it ends is to be seen there.
func printed(argv []string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	p, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(*columns), Rows: uint16(*rows)})
	if err != nil {
		return "", err
	}
	defer p.Close()
	var out bytes.Buffer
	_, _ = io.Copy(&out, p) // its end is an error on Linux
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return "", err
	}
	return out.String(), nil
}

// The day on which the screens were made, as they say.
var day = time.Date(2026, time.March, 5, 14, 2, 11, 0, time.UTC)

var (
	ulids     = regexp.MustCompile(`\b0[0-9A-HJKMNP-TV-Z]{25}\b`)
	durations = regexp.MustCompile(`\b\d\.\ds\b`)
	whole     = regexp.MustCompile(`\bin \d+\.\ds\b`)
	since     = regexp.MustCompile(`\bafter \d+s\b`)
	dates     = regexp.MustCompile(`\b[A-Z][a-z]{2} [A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \d{4} `)
	committed = regexp.MustCompile(`\bct=\d+`)
	at        = regexp.MustCompile(`\bat=\S+`)
	uuids     = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	unequal   = regexp.MustCompile(`status=(failed|blocked) `)
)

// settled replaces what is another each time: ids of commits and runs by their order, durations, times and
// the ids that Terraform makes up. What is deployed is the same each time, and so are digests of that.
func settled(text string) (string, error) {
	commits, err := output("git", "rev-list", "--reverse", "HEAD")
	if err != nil {
		return "", err
	}
	for i, id := range strings.Fields(commits) {
		made := sha1.Sum(fmt.Append(nil, "commit ", i))
		to := hex.EncodeToString(made[:])
		text = renamed(text, id, to, 12)
	}
	notes, err := output("git", "log", "--notes=tmnotes", "--format=%N")
	if err != nil {
		return "", err
	}
	runs := ulids.FindAllString(notes, -1)
	slices.Sort(runs)
	for i, id := range slices.Compact(runs) {
		made := sha256.Sum256(fmt.Append(nil, "run ", i))
		to := ulid.MustNew(ulid.Timestamp(day.Add(time.Duration(i)*time.Hour)), bytes.NewReader(made[:])).String()
		text = renamed(text, id, to, 10)
	}
	text = durations.ReplaceAllString(text, "0.2s")
	text = whole.ReplaceAllString(text, "in 1.4s")
	text = since.ReplaceAllString(text, "after 0s")
	text = dates.ReplaceAllString(text, day.Add(-13*time.Second).Format("Mon Jan 2 15:04:05 2006 "))
	text = committed.ReplaceAllString(text, fmt.Sprint("ct=", day.Unix()-13))
	text = uuids.ReplaceAllString(text, "6f0ed1ab-7c52-4a0c-9d0e-3b1f5a2c8e94")
	return inOrder(text), nil
}

// renamed replaces an id: all of it, what is written of it, and what is left of that where a table is cut.
func renamed(text, id, to string, written int) string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, id, to), id[:written], to[:written])
	for n := written - 1; n > 0; n-- {
		text = strings.ReplaceAll(text, " "+id[:n]+"…", " "+to[:n]+"…")
	}
	return text
}

// inOrder has the lines of a note that were written in one moment, or nearly, stand as those of one moment do.
func inOrder(text string) string {
	lines := strings.SplitAfter(text, "\n")
	when := day
	for i, end := 0, 0; i < len(lines); i = end {
		for end = i + 1; end < len(lines) && unequal.MatchString(lines[i]) && unequal.MatchString(lines[end]); {
			end++
		}
		if !at.MatchString(lines[i]) {
			continue
		}
		for k := i; k < end; k++ {
			lines[k] = at.ReplaceAllString(lines[k], when.Format("at=2006-01-02T15:04:05.000Z"))
		}
		slices.Sort(lines[i:end])
		when = when.Add(270 * time.Millisecond)
	}
	return strings.Join(lines, "")
}

func output(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return string(out), err
}

// aged are a note's lines as they would be if they had been written earlier.
func aged(text string) string {
	return at.ReplaceAllStringFunc(text, func(word string) string {
		t, err := time.Parse(time.RFC3339, word[3:])
		if err != nil {
			return word
		}
		return t.Add(-*older).Format("at=2006-01-02T15:04:05.000Z")
	})
}

var (
	pageData = regexp.MustCompile(`(?s)<script id="data".*?</script>`)
	pageBody = regexp.MustCompile(`(?s)<body>.*?<script`)
	ids      = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	numbers  = regexp.MustCompile(`\b([0-9][0-9A-Za-z.]*|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b`)
)

// digest is one of what a page looks like when it is opened: its text without ids and numbers, its style and its
// script.
func digest(page string) string {
	page, _, _ = strings.Cut(pageData.ReplaceAllString(page, ""), `<section id="details"`)
	page = pageBody.ReplaceAllStringFunc(page, func(body string) string {
		return numbers.ReplaceAllString(ids.ReplaceAllString(body, "0"), "0")
	})
	return fmt.Sprintf("%x", sha256.Sum256([]byte(page)))
}

// Sizes in px, and the colours 0 to 15 of a dark terminal.
const (
	letter, line, margin, bar = 8.4, 19, 18, 36

	underlined, bold, faint = 2, 4, 32 // as the emulator has them
)

var palette = strings.Fields(`#484f58 #ff7b72 #56d364 #e3b341 #79c0ff #d2a8ff #56d4dd #c9d1d9
	#8b949e #ffa198 #7ee787 #f2cc60 #a5d6ff #e2c5ff #8ddde4 #f0f6fc`)

const head = `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]g" height="%[2]d" viewBox="0 0 %[1]g %[2]d" role="img">
<title>%[3]s</title>
<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;fill:#d6dde5;white-space:pre}.b{font-weight:bold}.f{fill:#8b949e}.u{text-decoration:underline}</style>
<rect x=".5" y=".5" width="%[4]g" height="%[5]d" rx="9" fill="#0d1117" stroke="#3d444d"/>
<circle cx="22" cy="19" r="6" fill="#ff5f57"/><circle cx="42" cy="19" r="6" fill="#febc2e"/><circle cx="62" cy="19" r="6" fill="#28c840"/>
`

// draw draws the screen, but for what is empty below. Its letters are text, as wide as the terminal has them
// in whatever font.
func draw(term vt10x.Terminal, title string) ([]byte, error) {
	var b bytes.Buffer
	last := term.Cursor().Y
	width, height := float64(*columns)*letter+2*margin, bar+(last+1)*line+margin
	fmt.Fprintf(&b, head, width, height, html.EscapeString(title), width-1, height-1)
	for y := range last + 1 {
		cells := make([]vt10x.Glyph, *columns)
		used := 0
		for x := range cells {
			if cells[x] = term.Cell(x, y); cells[x].Char == 0 {
				cells[x].Char = ' '
			}
			if g := cells[x]; g.BG != vt10x.DefaultBG || g.FG != vt10x.DefaultFG && !g.FG.ANSI() {
				return nil, fmt.Errorf("line %d, column %d: this colour cannot be drawn yet", y+1, x+1)
			}
			if cells[x].Char != ' ' {
				used = x + 1
			}
		}
		if used == 0 {
			continue
		}
		fmt.Fprintf(&b, `<text y="%d">`, bar+y*line+14)
		for from := 0; from < used; {
			to := from + 1
			for to < used && (cells[to].Char == ' ' && look(cells[to]) == "" || look(cells[to]) == look(cells[from])) {
				to++
			}
			span(&b, cells[from:to], from)
			from = to
		}
		b.WriteString("</text>\n")
	}
	fmt.Fprintf(&b, `<rect x="%g" y="%d" width="%g" height="17" fill="#d6dde5"/>`+"\n</svg>\n", margin+float64(term.Cursor().X)*letter, bar+last*line, letter)
	return b.Bytes(), nil
}

// look are the attributes of a letter, as SVG says them.
func look(g vt10x.Glyph) (attributes string) {
	var classes []string
	for _, c := range []struct {
		mode int16
		name string
	}{{bold, "b"}, {faint, "f"}, {underlined, "u"}} {
		if g.Mode&c.mode != 0 {
			classes = append(classes, c.name)
		}
	}
	if classes != nil {
		attributes = ` class="` + strings.Join(classes, " ") + `"`
	}
	if g.FG.ANSI() {
		attributes += ` fill="` + palette[g.FG] + `"`
	}
	return attributes
}

// span draws letters that look the same from a column on.
func span(b *bytes.Buffer, cells []vt10x.Glyph, column int) {
	var text strings.Builder
	for _, c := range cells {
		text.WriteRune(c.Char)
	}
	fmt.Fprintf(b, `<tspan x="%.1f" textLength="%.1f"%s>%s</tspan>`, margin+float64(column)*letter, float64(len(cells))*letter, look(cells[0]), html.EscapeString(text.String()))
}
