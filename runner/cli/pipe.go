package cli

import (
	"io"
	"os"

	"github.com/tmnotes/tmnotes/runner/terminal"
)

// outputs are the two for a child. Where both are the same they stay so, and in order.
func (env Env) outputs() (stdout, stderr io.Writer) {
	out, is := env.Stdout.(*os.File)
	err, too := env.Stderr.(*os.File)
	stdout, stderr = terminal.Outlasting(env.Stdout), terminal.Outlasting(env.Stderr)
	if is && too && out != nil && err != nil && terminal.SameFile(out, err) {
		stderr = stdout
	}
	return stdout, stderr
}
