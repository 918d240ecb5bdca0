package gitstate

import "slices"

// literals finds which of many short strings stand in a text, and where, in one
// pass: three bytes of each, the ones that are rarest in prose, are marked in a
// small table, and only where the text has three marked bytes the strings
// themselves are compared.
type literals struct {
	marked  [hashes / 64]uint64
	bucket  []int32 // by the hash of the three bytes; 0 is none
	buckets [][]mark
}

const hashes = 1 << 16

// mark is a string that is looked for.
type mark struct {
	key    uint32 // the three bytes
	offset int    // of them in it
	text   string
	fold   bool // without regard to ASCII case; text is in lower case
	kind   int  // what the caller calls it
}

// markLength is how many bytes of a string are marked, and the shortest there is.
const markLength = 3

func newLiterals() *literals {
	return &literals{bucket: make([]int32, hashes), buckets: make([][]mark, 1)}
}

// clone may get further strings.
func (l *literals) clone() *literals {
	c := &literals{marked: l.marked, bucket: slices.Clone(l.bucket), buckets: slices.Clone(l.buckets)}
	for i, marks := range c.buckets {
		c.buckets[i] = slices.Clip(marks)
	}
	return c
}

func (l *literals) add(text string, fold bool, kind int) {
	if len(text) < markLength {
		return
	}
	best, rarest := 0, 1<<30
	for i := 0; i+markLength <= len(text); i++ {
		common := 0
		for _, c := range []byte(text[i : i+markLength]) {
			common += commonness[c]
		}
		if common < rarest {
			best, rarest = i, common
		}
	}
	for _, key := range keysOf(text[best:best+markLength], fold) {
		h := hash(key)
		if l.bucket[h] == 0 {
			l.marked[h/64] |= 1 << (h % 64)
			l.bucket[h] = int32(len(l.buckets))
			l.buckets = append(l.buckets, nil)
		}
		l.buckets[l.bucket[h]] = append(l.buckets[l.bucket[h]], mark{key, best, text, fold, kind})
	}
}

// commonness is how often a character stands in what programs print, roughly.
var commonness = func() (table [256]int) {
	for i := range table {
		table[i] = 2
	}
	for _, group := range []struct {
		characters string
		common     int
	}{{"0123456789./_", 5}, {"bjkqvwxyz-=\"", 6}, {"lhdcumpfg", 12}, {" etaoinsr", 20}} {
		for _, c := range []byte(group.characters) {
			table[c] = group.common
		}
	}
	return table
}()

func keysOf(three string, fold bool) []uint32 {
	keys := []uint32{0}
	for i := range markLength {
		c := three[i]
		both := []byte{c}
		if fold && c >= 'a' && c <= 'z' {
			both = append(both, c-'a'+'A')
		}
		var longer []uint32
		for _, key := range keys {
			for _, b := range both {
				longer = append(longer, key|uint32(b)<<(8*i))
			}
		}
		keys = longer
	}
	return keys
}

func hash(key uint32) uint32 { return key * 0x9E3779B1 >> 16 }

// find calls found for each place of a string, in order of the places of their
// three bytes.
func (l *literals) find(text []byte, found func(kind, from, to int)) {
	if len(text) < markLength {
		return
	}
	key := uint32(text[0])<<8 | uint32(text[1])<<16
	for i, c := range text[markLength-1:] {
		key = key>>8 | uint32(c)<<16
		h := hash(key)
		if l.marked[h/64]>>(h%64)&1 == 0 {
			continue
		}
		for j := range l.buckets[l.bucket[h]] {
			m := &l.buckets[l.bucket[h]][j]
			if m.key != key {
				continue
			}
			from := i - m.offset
			to := from + len(m.text)
			if from >= 0 && to <= len(text) && m.is(text[from:to]) {
				found(m.kind, from, to)
			}
		}
	}
}

func (m *mark) is(text []byte) bool {
	if !m.fold {
		return string(text) == m.text
	}
	for i, c := range text {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != m.text[i] {
			return false
		}
	}
	return true
}
