package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tmnotes/tmnotes/runner/terminal"
)

// manual is a page of help: of tmnotes, of a command, of a topic. A terminal and man(1) get
// the same one.
type manual struct {
	name    string // tmnotes-run
	section int    // of man: 1, or 7 for a topic
	about   string // one line
	brief   bool   // an item is one line, and cut where it is longer
	blocks  []block
}

// block is a part of a page. Its text has `code` and **strong** words; the other characters
// mean themselves.
type block struct {
	kind blockKind
	term string // of an item
	text string
}

type blockKind int

const (
	paragraph blockKind = iota
	heading
	item
	code // its lines stand as they are
)

const (
	indent     = 2
	termColumn = 28 // where what an item means begins at the latest
	narrowest  = 40
	widest     = 100 // of a text that is easy to read
)

// helpWidth is how wide help may be: COLUMNS, the terminal, or 80.
func helpWidth(env Env) int {
	width, err := strconv.Atoi(env.Getenv("COLUMNS"))
	if err != nil || width <= 0 {
		width, _ = terminal.Size(env.Stdout)
		width = cmp.Or(width, 80)
	}
	return min(max(width, narrowest), widest)
}

func printHelp(env Env, m manual) {
	fmt.Fprint(env.Stdout, m.plain(helpWidth(env)))
}

var strong = regexp.MustCompile(`\*\*(.+?)\*\*`)

// plain is the page for a terminal of a width.
func (m manual) plain(width int) string {
	var b strings.Builder
	if m.about != "" {
		hang(&b, 0, 0, width, m.about)
	}
	last, column := paragraph, 0
	for i, x := range m.blocks {
		text := strong.ReplaceAllString(x.text, "$1")
		if (i > 0 || m.about != "") && !(x.kind == item && last == item) && !(last == heading) {
			b.WriteByte('\n')
		}
		switch x.kind {
		case heading:
			b.WriteString(strings.ToUpper(text) + "\n")
		case paragraph:
			hang(&b, indent, indent, width, text)
		case code:
			for line := range strings.Lines(text) {
				b.WriteString(strings.TrimRight("  "+line, " \n") + "\n")
			}
		case item:
			if last != item {
				column = columnOf(m.blocks[i:], width)
			}
			term := "  " + plainTerm(x.term)
			lead := len(term) - len(strings.TrimLeft(term, " "))
			if room := width - column; m.brief && len([]rune(text)) > room {
				text = strings.TrimRight(string([]rune(text)[:room-1]), " ,") + "…"
			}
			if n := len([]rune(term)); n+2 > column {
				hang(&b, lead, lead+2, width, term)
				hang(&b, column, column, width, text)
			} else {
				var meaning strings.Builder
				hang(&meaning, column, column, width, text)
				b.WriteString(term + meaning.String()[n:])
			}
		}
		last = x.kind
	}
	return b.String()
}

// columnOf is where the meanings of the items begin that blocks begin with: behind the longest
// term that leaves them enough room.
func columnOf(blocks []block, width int) (column int) {
	most := min(termColumn, width/3)
	for _, x := range blocks {
		if x.kind != item {
			break
		}
		if n := len([]rune(plainTerm(x.term))) + 2 + indent; n <= most {
			column = max(column, n)
		}
	}
	return cmp.Or(column, most)
}

func plainTerm(term string) string {
	return strings.ReplaceAll(strong.ReplaceAllString(term, "$1"), "`", "")
}

// hang writes a text with its first line and the others indented, no word cut.
func hang(b *strings.Builder, first, others, width int, text string) {
	line, used := strings.Repeat(" ", first), first
	empty := true
	for _, word := range strings.Fields(text) {
		n := len([]rune(word))
		if !empty && used+1+n > width {
			b.WriteString(line + "\n")
			line, used, empty = strings.Repeat(" ", others), others, true
		}
		if !empty {
			line, used = line+" ", used+1
		}
		line, used, empty = line+word, used+n, false
	}
	b.WriteString(line + "\n")
}

// roff is the page for man(1).
func (m manual) roff() string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d \"\" \"tmnotes\" \"tmnotes manual\"\n.nh\n.ad l\n.SH NAME\n%s \\- %s\n", strings.ToUpper(escapeRoff(m.name)), m.section, escapeRoff(m.name), fontsOfRoff(m.about))
	if len(m.blocks) > 0 && m.blocks[0].kind != heading {
		b.WriteString(".SH DESCRIPTION\n")
	}
	last, title := heading, ""
	for _, x := range m.blocks {
		if title == "SYNOPSIS" && last != heading && x.kind != heading {
			title, last = "DESCRIPTION", heading
			b.WriteString(".SH DESCRIPTION\n")
		}
		switch x.kind {
		case heading:
			title = strings.ToUpper(x.text)
			if title == "USAGE" {
				title = "SYNOPSIS"
			}
			fmt.Fprintf(&b, ".SH %s\n", escapeRoff(title))
		case paragraph:
			if last != heading {
				b.WriteString(".PP\n")
			}
			b.WriteString(fontsOfRoff(x.text) + "\n")
		case code:
			if last != heading {
				b.WriteString(".PP\n")
			}
			b.WriteString(".nf\n")
			for line := range strings.Lines(x.text) {
				b.WriteString(escapeRoff(strings.TrimRight(line, "\n")) + "\n")
			}
			b.WriteString(".fi\n")
		case item:
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", "\\fB"+escapeRoff(strings.TrimSpace(plainTerm(x.term)))+"\\fR", fontsOfRoff(x.text))
		}
		last = x.kind
	}
	return b.String()
}

var marked = regexp.MustCompile("`([^`]+)`|\\*\\*(.+?)\\*\\*")

// fontsOfRoff is a text whose marked words are bold.
func fontsOfRoff(text string) string {
	return marked.ReplaceAllString(escapeRoff(text), `\fB$1$2\fR`)
}

var beyondASCII = regexp.MustCompile(`[^\x00-\x7F]`) // what older ones read by the locale

// escapeRoff has roff take a line's characters for what they are.
func escapeRoff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return beyondASCII.ReplaceAllStringFunc(line, func(c string) string { return fmt.Sprintf(`\[u%04X]`, []rune(c)[0]) })
}

var tableRow = regexp.MustCompile(`^\|(.*)\|$`)

// parsePage reads what the pages in help/ have of Markdown: paragraphs, lists, tables, and
// code that is indented. A table's row becomes an item, named by its first cell. Pictures are
// for those who read the pages elsewhere.
func parsePage(text string) (blocks []block) {
	var header []string
	add := func(kind blockKind, term, line string) {
		if n := len(blocks) - 1; kind == code && n >= 0 && blocks[n].kind == code {
			blocks[n].text += "\n" + line
			return
		}
		blocks = append(blocks, block{kind, term, line})
	}
	gap := false
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		row := tableRow.FindStringSubmatch(line)
		if row == nil {
			header = nil
		}
		last := len(blocks) - 1
		switch {
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "!["):
			gap = true
			continue
		case row != nil && header == nil:
			header = cellsOf(row[1])
		case row != nil && strings.Trim(row[1], "-|: ") == "":
		case row != nil:
			cells := cellsOf(row[1])
			add(item, cells[0], describeCells(header, cells))
		case strings.HasPrefix(line, "## "):
			add(heading, "", line[3:])
		case strings.HasPrefix(line, "    "):
			if gap && last >= 0 && blocks[last].kind == code {
				blocks[last].text += "\n"
			}
			add(code, "", line[4:])
		case strings.HasPrefix(line, "- "):
			term, rest, found := strings.Cut(line[2:], ": ")
			if !found {
				term, rest = "-", line[2:]
			}
			add(item, term, rest)
		case !gap && last >= 0 && (blocks[last].kind == item || blocks[last].kind == paragraph):
			blocks[last].text += " " + strings.TrimSpace(line)
		default:
			blocks = append(blocks, block{paragraph, "", line})
		}
		gap = false
	}
	return blocks
}

var unescapedBar = regexp.MustCompile(`([^\\])\|`)

func cellsOf(row string) []string {
	cells := strings.Split(unescapedBar.ReplaceAllString(row, "$1\x00"), "\x00")
	for i := range cells {
		cells[i] = strings.TrimSpace(strings.NewReplacer(`\|`, "|", `\*`, "*").Replace(cells[i]))
	}
	return cells
}

// describeCells are the cells after the first, each with the name of its column where there
// are several.
func describeCells(header, cells []string) string {
	if len(cells) == 2 {
		return cells[1]
	}
	said := slices.Clone(cells[1:])
	for i := range said {
		said[i] = header[i+1] + ": " + said[i]
	}
	return strings.Join(said, "; ")
}
