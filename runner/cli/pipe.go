package cli

import (
	"io"
	"os"
)

// drain takes everything, whether or not somebody still reads it.
type drain struct{ to io.Writer }

func (d drain) Write(p []byte) (int, error) {
	_, _ = d.to.Write(p)
	return len(p), nil
}

// outlasting is a writer that a child may have: in place of a pipe, whose reader may go
// away (`| head`) and with it the child, one that this process reads.
func outlasting(w io.Writer) io.Writer {
	f, is := w.(*os.File)
	if !is || f == nil {
		return w
	}
	if info, err := f.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return w
	}
	return drain{f}
}

// outputs are the two for a child. Where both are the same they stay so, and in order.
func (env Env) outputs() (stdout, stderr io.Writer) {
	out, is := env.Stdout.(*os.File)
	err, too := env.Stderr.(*os.File)
	stdout, stderr = outlasting(env.Stdout), outlasting(env.Stderr)
	if is && too && out != nil && err != nil && sameFile(out, err) {
		stderr = stdout
	}
	return stdout, stderr
}
