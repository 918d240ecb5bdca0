package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"time"
)

// pageData is what the script makes the grid of. Lists of numbers stand for
// lists of records: a page has up to some hundred thousand of them.
type pageData struct {
	At      int64     `json:"at"`      // Unix seconds
	Commits [][]any   `json:"commits"` // the newest first: short name, subject, Unix seconds
	Runs    [][]any   `json:"runs"`    // commit (index), operation, target, by, job, command, start (Unix seconds), name
	Texts   []string  `json:"texts"`   // reasons
	Status  []string  `json:"status"`
	IDs     []string  `json:"ids"`  // of the stacks
	Rows    [][]int64 `json:"rows"` // of each stack's results, the newest first, six numbers; see add
}

const perResult = 6

const tenth = 100 * time.Millisecond

// packFrom is the size from which data is compressed.
const packFrom = 128 << 10

// data is the element that holds the data, of the newest columns.
func (v *pageView) data(columns int) (element template.HTML, size int, err error) {
	r := v.R
	d := pageData{At: r.At.Unix(), Commits: [][]any{}, Runs: [][]any{}, Texts: []string{""}, Rows: [][]int64{}}
	at := map[string]int{}
	for i, c := range r.Commits[:columns] {
		at[c.Hash] = i
		d.Commits = append(d.Commits, []any{short(c.Hash), visible(c.Subject), c.Time.Unix()})
	}
	type runKey struct{ run, commit, op, target string }
	runs := map[runKey]int{}
	texts, statuses := map[string]int{"": 0}, map[string]int{}
	index := func(of map[string]int, list *[]string, s string) int64 {
		i, ok := of[s]
		if !ok {
			i = len(*list)
			of[s] = i
			*list = append(*list, s)
		}
		return int64(i)
	}
	for i := range r.Stacks {
		d.IDs = append(d.IDs, r.Stacks[i].ID)
		var columnsOf [perResult][]int64
		last := 0
		for j := len(r.Stacks[i].History) - 1; j >= 0; j-- {
			h := &r.Stacks[i].History[j]
			commit, ok := at[h.Commit]
			if !ok {
				continue
			}
			k := runKey{h.Record.Run, h.Commit, h.Record.Op, h.Record.Target}
			n, ok := runs[k]
			head := v.heads[runOf{k.run, k.commit}]
			if !ok {
				n = len(d.Runs)
				runs[k] = n
				d.Runs = append(d.Runs, []any{commit, k.op, visible(k.target), who(h.By), head.Job, visible(head.Cmd), head.Started.Unix(), k.run})
			}
			for to, n := range [perResult]int64{int64(n - last), index(statuses, &d.Status, shownStatus(h)), h.Record.At.Unix() - head.Started.Unix(),
				int64(h.Record.Took / tenth), int64(h.Record.Tries), index(texts, &d.Texts, visible(cut(why(&h.Record))))} {
				columnsOf[to] = append(columnsOf[to], n)
			}
			last = n
		}
		d.Rows = append(d.Rows, append([]int64{}, slices.Concat(columnsOf[:]...)...))
	}
	return d.element()
}

// element is the script element that holds the data. size is how many bytes of it are
// packed, 0 where it is not large enough for that.
func (d *pageData) element() (element template.HTML, size int, err error) {
	text, err := json.Marshal(d) // which escapes <, > and &
	if err != nil {
		return "", 0, fmt.Errorf("encoding the page's data: %w", err)
	}
	if len(text) < packFrom {
		return template.HTML(`<script id="data" type="application/json">` + string(text) + `</script>`), 0, nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return "", 0, err
	}
	if err := z.Close(); err != nil {
		return "", 0, err
	}
	packed := base64.StdEncoding.EncodeToString(b.Bytes())
	return template.HTML(`<script id="data" type="text/plain">` + packed + `</script>`), len(packed), nil
}

// cut shortens the reason of a result among many; the last failure has it whole.
func cut(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	for i := range s {
		if i > most {
			return s[:i] + "…"
		}
	}
	return s
}
