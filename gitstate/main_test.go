package gitstate

import (
	"os"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate/gittest"
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
