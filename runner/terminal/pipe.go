package terminal

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

// Outlasting is a writer that a child may have: in place of a pipe, whose reader may go
// away (`| head`) and with it the child, one that this process reads.
func Outlasting(w io.Writer) io.Writer {
	f, is := w.(*os.File)
	if !is || f == nil {
		return w
	}
	if info, err := f.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return w
	}
	return drain{f}
}
