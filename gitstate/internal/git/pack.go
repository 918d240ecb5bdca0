package git

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/klauspost/compress/zlib"
	"golang.org/x/exp/mmap"
)

// Many objects are read faster here than through a pipe from git: from packs with an
// index of version 2 (gitformat-pack(5)) and from loose files, in the repository and its
// alternates. What is not found so, or not as it should be, is asked of git, which also
// says what is wrong: errMissed is never shown to anybody.

var errMissed = errors.New("not read here")

// store is where objects are, as it was when it was opened.
type store struct {
	folders []string
	packs   []*pack

	mu   sync.Mutex // guards what the packs have read
	held int        // bytes of that
}

// pack is a pack and its index. They stay mapped until nobody has them: who reads may not
// know that the repository was closed.
type pack struct {
	number      int // in the store
	index, data *mmap.ReaderAt
	fanout      [256]uint32
	read        map[int64]whole // what was read, by its offset: others may be told as what differs from it
}

const (
	packMost = 1 << 28 // a larger object is git's to read
	nameLen  = len(plumbing.ZeroHash)
)

// objects opens what there is, once.
func (r *Repo) objects() *store {
	r.openStore.Do(func() {
		r.store = new(store)
		if r.replaces() {
			return
		}
		r.store.add(r.Objects, 0)
		for _, dir := range filepath.SplitList(r.Getenv("GIT_ALTERNATE_OBJECT_DIRECTORIES")) {
			r.store.add(dir, 1)
		}
	})
	return r.store
}

// replaces reports whether git may read other objects than those that are named
// (git-replace(1)).
func (r *Repo) replaces() bool {
	if _, err := os.Stat(filepath.Join(r.CommonDir, "refs", "replace")); err == nil {
		return true
	}
	packed, err := os.ReadFile(filepath.Join(r.CommonDir, "packed-refs"))
	return err == nil && bytes.Contains(packed, []byte(" refs/replace/")) || r.Getenv("GIT_REPLACE_REF_BASE") != ""
}

// add adds a folder of objects, and those that it names as its alternates.
func (s *store) add(dir string, depth int) {
	if dir == "" || slices.Contains(s.folders, dir) || depth > 5 {
		return
	}
	s.folders = append(s.folders, dir)
	found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "pack", "pack-*.idx"))
	for _, name := range found {
		if p := openPack(name); p != nil {
			p.number = len(s.packs)
			s.packs = append(s.packs, p)
		}
	}
	text, _ := os.ReadFile(filepath.Join(dir, "info", "alternates"))
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' || line[0] == '"' {
			continue
		}
		if !filepath.IsAbs(line) {
			line = filepath.Join(dir, line)
		}
		s.add(line, depth+1)
	}
}

func escapeGlob(dir string) string {
	if os.PathSeparator == '\\' {
		return dir
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// openPack is nil where it is none that can be read here.
func openPack(name string) *pack {
	index, err := mmap.Open(name)
	if err != nil {
		return nil
	}
	data, err := mmap.Open(strings.TrimSuffix(name, ".idx") + ".pack")
	if err != nil {
		return nil
	}
	var head [8 + 4*256]byte
	if _, err := index.ReadAt(head[:], 0); err != nil || string(head[:8]) != "\xfftOc\x00\x00\x00\x02" {
		return nil
	}
	p := &pack{index: index, data: data}
	for i := range p.fanout {
		p.fanout[i] = binary.BigEndian.Uint32(head[8+4*i:])
	}
	return p
}

// find is where in the pack an object stands.
func (p *pack) find(h plumbing.Hash) (offset int64, found bool) {
	const names = 8 + 4*256
	total := int64(p.fanout[255])
	low, high := 0, int(p.fanout[h[0]])
	if h[0] > 0 {
		low = int(p.fanout[h[0]-1])
	}
	if low > high || int64(high) > total {
		return 0, false
	}
	// Names are hashes: where one stands can be told from what it is and from what stands at both ends.
	at, found := low, false
	var name [nameLen]byte
	least := uint64(h[0]) << 32
	for most := least + 1<<32 - 1; low < high && !found; {
		want := binary.BigEndian.Uint64(h[:8]) >> 24
		at = low + int(min((want-least)*uint64(high-low)/(most-least+1), uint64(high-low-1)))
		if _, err := p.index.ReadAt(name[:], names+int64(at)*int64(nameLen)); err != nil {
			return 0, false
		}
		stands := binary.BigEndian.Uint64(name[:8]) >> 24
		switch c := bytes.Compare(name[:], h[:]); {
		case c == 0:
			found = true
		case c < 0:
			low, least = at+1, stands
		default:
			high, most = at, stands
		}
		if stands>>32 != uint64(h[0]) || want < least || want > most {
			return 0, false // it is not sorted
		}
	}
	if !found {
		return 0, false
	}
	var word [8]byte
	offsets := names + total*int64(nameLen+4)
	if _, err := p.index.ReadAt(word[:4], offsets+4*int64(at)); err != nil {
		return 0, false
	}
	offset = int64(binary.BigEndian.Uint32(word[:4]))
	if offset&(1<<31) != 0 { // in the table of those beyond 2 GiB
		if _, err := p.index.ReadAt(word[:], offsets+4*total+8*(offset&^(1<<31))); err != nil {
			return 0, false
		}
		offset = int64(binary.BigEndian.Uint64(word[:]))
	}
	return offset, offset > 0
}

// objectReader reads objects for one goroutine.
type objectReader struct {
	store   *store
	packed  []byte // what is inflated
	from    *bytes.Reader
	zlib    io.ReadCloser
	differs []byte // of the object that is read from another
	pack    *pack  // the one that had the last object
	sum     hash.Hash
	name    []byte // of the object that was read last
	end     [1]byte
}

type place struct {
	in *pack
	at int64
}

// whole is an object.
type whole struct {
	kind plumbing.ObjectType
	body []byte
}

const (
	mostHeld  = 16 << 20
	mostDepth = 4096 // git's own limit
)

// read is the object that has the name, or errMissed.
func (o *objectReader) read(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	kind, body, err := o.find(h)
	if err == nil && !o.named(kind, body, h) {
		err = errMissed
	}
	return kind, body, err
}

func (o *objectReader) named(kind plumbing.ObjectType, body []byte, h plumbing.Hash) bool {
	if o.sum == nil {
		o.sum = sha1.New()
	}
	o.sum.Reset()
	o.name = append(append(o.name[:0], kind.String()...), ' ')
	o.sum.Write(append(strconv.AppendInt(o.name, int64(len(body)), 10), 0))
	o.sum.Write(body)
	o.name = o.sum.Sum(o.name[:0])
	return plumbing.Hash(o.name) == h
}

func (o *objectReader) find(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	if p := o.place(h); p.in != nil {
		return o.at(p.in, p.at, 0)
	}
	return o.loose(h)
}

// place is where a pack has an object, the zero one if none has it.
func (o *objectReader) place(h plumbing.Hash) place {
	if o.pack != nil {
		if at, found := o.pack.find(h); found {
			return place{o.pack, at}
		}
	}
	for _, p := range o.store.packs {
		if at, found := p.find(h); found {
			o.pack = p
			return place{p, at}
		}
	}
	return place{}
}

// loose reads a file as git-hash-object(1) writes it.
func (o *objectReader) loose(h plumbing.Hash) (plumbing.ObjectType, []byte, error) {
	name := h.String()
	for _, dir := range o.store.folders {
		packed, err := os.ReadFile(filepath.Join(dir, name[:2], name[2:]))
		if err != nil {
			continue
		}
		if err := o.inflate(packed); err != nil {
			break
		}
		text, err := io.ReadAll(io.LimitReader(o.zlib, packMost))
		head, body, ended := bytes.Cut(text, []byte{0})
		if err != nil || !ended {
			break
		}
		kind, _, _ := bytes.Cut(head, []byte(" "))
		t, err := plumbing.ParseObjectType(string(kind))
		if err != nil {
			break
		}
		return t, body, nil
	}
	return 0, nil, errMissed
}

func (o *objectReader) inflate(packed []byte) (err error) {
	if o.from == nil {
		o.from = new(bytes.Reader)
	}
	o.from.Reset(packed)
	if o.zlib == nil {
		o.zlib, err = zlib.NewReader(o.from)
		return err
	}
	return o.zlib.(zlib.Resetter).Reset(o.from, nil)
}

// at is the object that stands at an offset of a pack.
func (o *objectReader) at(p *pack, offset int64, depth int) (plumbing.ObjectType, []byte, error) {
	s := o.store
	s.mu.Lock()
	w, known := p.read[offset]
	s.mu.Unlock()
	if known {
		return w.kind, w.body, nil
	}
	var err error
	if w.kind, w.body, err = o.readAt(p, offset, depth); err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	if s.held += len(w.body); s.held > mostHeld {
		for _, q := range s.packs {
			q.read = nil
		}
		s.held = len(w.body)
	}
	if p.read == nil {
		p.read = map[int64]whole{}
	}
	p.read[offset] = w
	s.mu.Unlock()
	return w.kind, w.body, nil
}

func (o *objectReader) readAt(p *pack, offset int64, depth int) (plumbing.ObjectType, []byte, error) {
	head := [32]byte{}
	n, err := p.data.ReadAt(head[:], offset)
	if err != nil && !errors.Is(err, io.EOF) || n == 0 || depth > mostDepth {
		return 0, nil, errMissed
	}
	kind, size := plumbing.ObjectType(head[0]>>4&7), int64(head[0]&15)
	i := 1
	for shift := 4; head[i-1]&0x80 != 0; shift += 7 {
		if i == 10 {
			return 0, nil, errMissed
		}
		size |= int64(head[i]&0x7f) << shift
		i++
	}
	if size < 0 || size > packMost {
		return 0, nil, errMissed
	}
	var on place
	switch kind {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		body := make([]byte, size)
		return kind, body, o.body(p, offset+int64(i), body)
	case plumbing.OFSDeltaObject:
		back := int64(head[i] & 0x7f)
		for i++; head[i-1]&0x80 != 0; i++ {
			if i == 20 {
				return 0, nil, errMissed
			}
			back = (back+1)<<7 | int64(head[i]&0x7f)
		}
		on = place{p, offset - back}
	case plumbing.REFDeltaObject:
		at, found := p.find(plumbing.Hash(head[i : i+nameLen]))
		if !found {
			return 0, nil, errMissed
		}
		on, i = place{p, at}, i+nameLen
	default:
		return 0, nil, errMissed
	}
	if on.at <= 0 || kind == plumbing.OFSDeltaObject && on.at >= offset {
		return 0, nil, errMissed
	}
	return o.delta(on, offset+int64(i), int(size), depth)
}

// delta is an object that is said by what differs from another.
func (o *objectReader) delta(on place, offset int64, size, depth int) (plumbing.ObjectType, []byte, error) {
	kind, from, err := o.at(on.in, on.at, depth+1)
	if err != nil {
		return 0, nil, err
	}
	o.differs = slices.Grow(o.differs[:0], size)[:size]
	if err := o.body(on.in, offset, o.differs); err != nil {
		return 0, nil, err
	}
	body, ok := patch(from, o.differs)
	if !ok {
		return 0, nil, errMissed
	}
	return kind, body, nil
}

// patch makes an object of another and of what differs, as gitformat-pack(5) has it.
func patch(from, delta []byte) (to []byte, ok bool) {
	size, n := binary.Uvarint(delta)
	if n <= 0 || size != uint64(len(from)) {
		return nil, false
	}
	delta = delta[n:]
	if size, n = binary.Uvarint(delta); n <= 0 || size > packMost {
		return nil, false
	}
	delta, to = delta[n:], make([]byte, 0, size)
	for len(delta) > 0 {
		do := delta[0]
		delta = delta[1:]
		piece := delta
		if do&0x80 == 0 { // so many bytes of its own; none is reserved
			if do == 0 || len(delta) < int(do) {
				return nil, false
			}
			piece, delta = delta[:do], delta[do:]
		} else {
			var at, many int
			for bit := range 7 {
				if do>>bit&1 == 0 {
					continue
				}
				if len(delta) == 0 {
					return nil, false
				}
				if bit < 4 {
					at |= int(delta[0]) << (8 * bit)
				} else {
					many |= int(delta[0]) << (8 * (bit - 4))
				}
				delta = delta[1:]
			}
			if many == 0 {
				many = 0x10000
			}
			if at+many > len(from) {
				return nil, false
			}
			piece = from[at : at+many]
		}
		if len(to)+len(piece) > cap(to) {
			return nil, false
		}
		to = append(to, piece...)
	}
	return to, uint64(len(to)) == size
}

// body inflates what stands at an offset of a pack.
func (o *objectReader) body(p *pack, offset int64, body []byte) error {
	size, end := int64(len(body)), int64(p.data.Len()-nameLen)
	// No deflated text is longer than this: see compressBound in zlib.h.
	bound := min(size+size>>12+size>>14+64, end-offset)
	if offset <= 0 || bound <= 0 {
		return errMissed
	}
	o.packed = slices.Grow(o.packed[:0], int(bound))[:bound]
	if _, err := p.data.ReadAt(o.packed, offset); err != nil {
		return errMissed
	}
	if err := o.inflate(o.packed); err != nil {
		return errMissed
	}
	if _, err := io.ReadFull(o.zlib, body); err != nil {
		return errMissed
	}
	// The end has the checksum.
	if n, err := o.zlib.Read(o.end[:]); n != 0 || !errors.Is(err, io.EOF) {
		return errMissed
	}
	return nil
}
