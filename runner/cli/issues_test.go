package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tmnotes/tmnotes/runner/forge"
	"github.com/tmnotes/tmnotes/runner/forge/forgetest"
)

// issue show N prints one of the script's forge (see cmdForge); issue new, issue close N and issue write N TEXT are what people do;
// issue pull N FILE... opens a pull request where the forge is played, issue fail has it refuse the next request.
func cmdIssue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: issue show|new|close|write|pull|fail ...")
	}
	config, err := forge.Detect(ts.Getenv, "", "", "")
	ts.Check(err)
	f, err := forge.New(config)
	ts.Check(err)
	number := 0
	if len(args) > 1 {
		number, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	played, _ := scriptForges.Load(ts.Getenv("WORK"))
	double, _ := played.(*scriptDouble)
	ctx := context.Background()
	switch args[0] {
	case "new":
		_, err = f.SetIssue(ctx, forge.Issue{Title: "somebody's", Body: "words"})
		ts.Check(err)
		return
	case "pull":
		double.Pull(forge.PullRequest{Number: number, Base: "main", Open: true}, args[2:]...)
		return
	case "fail":
		double.Fail(forgetest.Fault{Status: 403})
		return
	}
	i, err := f.Issue(ctx, number)
	ts.Check(err)
	switch args[0] {
	case "show":
		fmt.Fprintf(ts.Stdout(), "%s: %s\n%s\n", map[bool]string{true: "open", false: "closed"}[i.Open], i.Title, i.Body)
		return
	case "close":
		i.Open = false
	case "write":
		i.Body = strings.Join(args[2:], " ")
	}
	_, err = f.SetIssue(ctx, *i)
	ts.Check(err)
}
