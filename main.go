package main

import (
	_ "github.com/creack/pty"
	_ "github.com/go-git/go-git/v5"
	_ "github.com/go-logfmt/logfmt"
	_ "github.com/gofrs/flock"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/oklog/ulid/v2"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/terramate-io/terramate/engine"
	_ "github.com/urfave/cli/v2"
	_ "golang.org/x/sys/cpu"
	_ "golang.org/x/term"
	_ "pgregory.net/rapid"
)

func main() {}
