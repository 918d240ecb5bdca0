package project

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A headWatch notices that HEAD is another commit.
type headWatch struct {
	top    workTree
	commit string

	mu    sync.Mutex
	files []string // whose content says what HEAD is
	was   string
	gone  bool // it was another commit once
}

func watchHead(ctx context.Context, top workTree, commit string) (*headWatch, error) {
	h := &headWatch{top: top, commit: commit}
	if err := h.find(ctx); err != nil {
		return nil, err
	}
	h.was = h.now()
	var err error
	h.gone, err = h.ask(ctx)
	return h, err
}

// find asks git where HEAD is written down: there, in the file of the branch, and
// where refs are packed.
func (h *headWatch) find(ctx context.Context) error {
	args := []string{"rev-parse", "--git-path", "HEAD", "--git-path", "packed-refs", "--git-path", "reftable/tables.list"}
	if out, err := h.top.git(ctx, "symbolic-ref", "--quiet", "HEAD"); err == nil {
		args = append(args, "--git-path", strings.TrimSpace(string(out)))
	}
	out, err := h.top.git(ctx, args...)
	if err != nil {
		return err
	}
	h.files = nil
	for name := range strings.Lines(string(out)) {
		file := filepath.FromSlash(strings.TrimRight(name, "\n"))
		if !filepath.IsAbs(file) {
			file = filepath.Join(h.top.dir, file)
		}
		h.files = append(h.files, file)
	}
	return nil
}

// now is what these files say; of a long one, when it was written.
func (h *headWatch) now() string {
	var b strings.Builder
	content := make([]byte, 1<<10)
	for _, file := range h.files {
		if f, err := os.Open(file); err == nil {
			n, _ := f.Read(content)
			if n == len(content) {
				if st, err := f.Stat(); err == nil {
					n = copy(content, st.ModTime().String())
				}
			}
			b.Write(content[:n])
			f.Close()
		}
		b.WriteByte(0)
	}
	return b.String()
}

// moved reports whether HEAD is, or was meanwhile, another commit.
func (h *headWatch) moved(ctx context.Context) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return true, nil
	}
	if h.now() == h.was {
		return false, nil
	}
	if err := h.find(ctx); err != nil { // it may be on another branch
		return false, err
	}
	h.was = h.now()
	moved, err := h.ask(ctx)
	h.gone = moved
	return moved, err
}

func (h *headWatch) ask(ctx context.Context) (bool, error) {
	commit, err := h.top.head(ctx)
	return commit != h.commit, err
}
