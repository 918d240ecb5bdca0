package gitstate

import (
	"os"
	"testing"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// children are what the test binary does when a test starts it again as a
// process of its own: TMNOTES_TEST_CHILD names one of them.
var children = map[string]func(args []string){}

func TestMain(m *testing.M) {
	if child := children[os.Getenv("TMNOTES_TEST_CHILD")]; child != nil {
		child(os.Args[1:])
		return
	}
	cleanup := gittest.Isolate()
	code := m.Run()
	cleanup()
	os.Exit(code)
}

func mustLine(r note.Record) string {
	line, err := r.Line()
	if err != nil {
		panic(err)
	}
	return line
}

func rec(sec int, status note.Status, op, stack, run string, prev ...string) note.Record {
	return note.Record{At: gittest.T0.Add(time.Duration(sec) * time.Second), Status: status, Op: op, Stack: stack, Run: run, Prev: prev}
}
