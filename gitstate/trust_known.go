package gitstate

import (
	"bufio"
	"strings"
	"sync"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// verified remembers whose the signatures were that have been verified, by the digest of their lines,
// in a file: to verify one takes longer than to read its line. It is good for one file of signers.
type verified struct {
	path, head string
	mu         sync.Mutex
	of         map[string]string // principal, by digest
	fresh      int               // not in the file yet
}

const verifiedMagic = "tmnotes verified 1 "

// open says where it is, under which digest of who may sign.
func (v *verified) open(path, digest string) { v.path, v.head = path, verifiedMagic+digest }

// load reads it when the first signature is met: what comes from the index needs none. Of another
// digest, or damaged, it is nothing.
func (v *verified) load() {
	if v.of != nil {
		return
	}
	v.of = map[string]string{}
	body, err := readCache(v.path)
	if err != nil {
		return
	}
	head, body, _ := strings.Cut(body, "\n")
	if head != v.head {
		return
	}
	for line := range strings.Lines(body) {
		digest, principal, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		v.of[digest] = principal
	}
}

func (v *verified) get(line string) (principal string, is bool) {
	digest := note.Digest(line)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.load()
	principal, is = v.of[digest]
	return principal, is
}

func (v *verified) put(line, principal string) {
	digest := note.Digest(line)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.load()
	v.of[digest] = principal
	v.fresh++
}

// save writes what is new. Without it the next command verifies again, and finds the same.
func (v *verified) save() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fresh == 0 {
		return
	}
	if writeCache(v.path, v.write) == nil {
		v.fresh = 0
	}
}

func (v *verified) write(b *bufio.Writer) {
	b.WriteString(v.head + "\n")
	for digest, principal := range v.of {
		b.WriteString(digest + " " + principal + "\n")
	}
}
