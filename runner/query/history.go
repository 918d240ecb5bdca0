package query

import (
	"cmp"
	"slices"
	"strings"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// unique leaves the first of what is there several times.
func unique(in []string) (out []string) {
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// SortByTime puts the oldest first.
func SortByTime(records []Logged) {
	slices.SortFunc(records, func(a, b Logged) int {
		return cmp.Or(a.Record.At.Compare(b.Record.At), strings.Compare(a.Record.Run, b.Record.Run), strings.Compare(a.Commit, b.Commit))
	})
}

// idsOfPaths takes records that are sorted by time.
func idsOfPaths(records []Logged) gitstate.PathIDs {
	ids := gitstate.PathIDs{}
	for i := range records {
		ids.Add(&records[i].Record)
	}
	return ids
}

// Logged is a record in JSON, with the commit whose note holds it.
type Logged struct {
	Commit string      `json:"commit"`
	By     string      `json:"by,omitempty"`
	Record note.Record `json:"record"`
}
