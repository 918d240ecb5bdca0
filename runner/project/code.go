package project

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// code is the Terraform code of a commit: what it refers to, folder by folder. It
// may be read by several goroutines.
type code struct {
	root   string // where the files of the commit are on the disk
	work   string // where code that is not in the commit is, "" if that is not asked for
	commit string
	t      *commitTree

	memory Memory

	// Where the files of another commit lie there: what is on the disk and not in this one, and the content of
	// what differs, by object. See Merge.
	absent  map[string]bool
	content map[string][]byte

	mu    sync.Mutex
	calls map[string]codeCalls
	known map[string]string // object → its refs, as they are kept
	fresh bool              // known has more than memory
}

// A Memory keeps texts between two commands; gitstate.Store is one. What it has
// forgotten is made again.
type Memory interface {
	Kept(name string) (string, bool)
	Keep(name, text string)
}

// callsName is under which name a Memory has what files refer to: a line for each,
// with the file's object, a tab, and refs.text.
const callsName = "calls-2"

// codeCalls are the refs of all code in a folder.
type codeCalls struct {
	refs
	ignored []part   // code that is not in the commit
	names   []string // of the files, where they are read from the work tree alone
	err     error
}

func newCode(root, commit string, t *commitTree, memory Memory) *code {
	c := &code{root: root, commit: commit, t: t, memory: memory, calls: map[string]codeCalls{}, known: map[string]string{}}
	if memory != nil {
		text, _ := memory.Kept(callsName)
		c.known = make(map[string]string, strings.Count(text, "\n"))
		for line := range strings.SplitSeq(text, "\n") {
			if id, kept, _ := strings.Cut(line, "\t"); id != "" {
				c.known[id] = kept
			}
		}
	}
	return c
}

// keep has the memory know of the files that are there.
func (c *code) keep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory == nil || !c.fresh {
		return
	}
	var b strings.Builder
	seen := map[string]bool{}
	for dir, names := range c.t.code {
		for _, name := range names {
			id := c.t.entries[path.Join(dir, name)].id
			kept, known := c.known[id]
			if known && !seen[id] {
				seen[id] = true
				b.WriteString(id + "\t" + kept + "\n")
			}
		}
	}
	c.fresh = false
	c.memory.Keep(callsName, b.String())
}

// refsOf are what one file refers to.
func (c *code) refsOf(file string) (refs, error) {
	e := c.t.entries[file]
	c.mu.Lock()
	kept, known := c.known[e.id]
	c.mu.Unlock()
	if known && e.mode != modeLink {
		return keptRefs(kept), nil
	}
	content, err := c.read(file)
	if err != nil {
		return refs{}, err
	}
	found, err := readRefs(file, content)
	if err == nil && e.mode != modeLink {
		if kept, ok := found.text(); ok {
			c.mu.Lock()
			c.known[e.id], c.fresh = kept, true
			c.mu.Unlock()
		}
	}
	return found, err
}

// read is the content of a file.
func (c *code) read(file string) ([]byte, error) {
	if c.content != nil {
		_, e, _ := c.t.resolve(file)
		if content, is := c.content[e.id]; is {
			return content, nil
		}
	}
	return os.ReadFile(filepath.Join(c.root, filepath.FromSlash(file)))
}

// all reads the code in many folders, on all processors: parsing is most of the work.
func (c *code) all(dirs []string) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(dirs)) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(dirs)); i = next.Add(1) - 1 {
				c.callsIn(dirs[i])
			}
		})
	}
	wait.Wait()
}

// callsIn returns what the code in a folder refers to. It is listed from the commit,
// so that .tmskip makes no difference.
func (c *code) callsIn(dir string) codeCalls {
	c.mu.Lock()
	calls, ok := c.calls[dir]
	c.mu.Unlock()
	if ok {
		return calls
	}
	for _, name := range c.t.code[dir] {
		file := path.Join(dir, name)
		found, err := c.refsOf(file)
		if err != nil {
			if _, e, _ := c.t.resolve(file); errors.Is(err, fs.ErrNotExist) && e.mode != missing && e.mode != outside && e.mode != modeGitlink {
				err = errNotCheckedOut
			}
			calls = codeCalls{err: oneLine(file, err)}
			break
		}
		calls.merge(name, found)
	}
	if calls.err == nil {
		calls.err = c.readIgnored(dir, &calls)
	}
	c.mu.Lock()
	c.calls[dir] = calls
	c.mu.Unlock()
	return calls
}

// readAhead reads the code of HEAD while Terramate reads the project, which it does
// one file after the other. What comes of it is taken by codeAt; an error is not
// kept, whoever needs the code gets it.
func readAhead(ctx context.Context, wd string, memory Memory) <-chan *code {
	ahead := make(chan *code, 1)
	go func() {
		defer close(ahead)
		root, err := gitTop(ctx, wd)
		if err != nil {
			return
		}
		top := workTree{dir: root}
		commit, err := top.head(ctx)
		if err != nil {
			return
		}
		t, err := top.readTree(ctx, commit)
		if err != nil {
			return
		}
		c := newCode(root, commit, t, memory)
		c.work = root
		ahead <- c
		stacks := map[string]bool{} // where one may be
		for _, file := range t.files {
			if strings.HasSuffix(file, ".tm") || strings.HasSuffix(file, ".tm.hcl") {
				stacks[path.Dir(file)] = true
			}
		}
		for dir := range stacks {
			if ctx.Err() != nil {
				return
			}
			c.callsIn(dir)
		}
	}()
	return ahead
}

// codeAt is the code of a commit whose files are on the disk.
func (p *Project) codeAt(ctx context.Context, commit string) (*code, error) {
	if p.ahead != nil {
		if c := <-p.ahead; c != nil && c.commit == commit && c.root == p.Root() {
			p.ahead = nil
			return c, nil
		}
	}
	t, err := p.top().readTree(ctx, commit)
	if err != nil {
		return nil, err
	}
	c := newCode(p.Root(), commit, t, p.memory)
	c.work = p.Root()
	return c, nil
}
