package note

// literals finds which of many short strings stand in a text, and where, in one
// pass. Of each string the two pairs of bytes in the three that are rarest in
// prose are marked; one of the pairs stands at an even place of the text, so that
// only those are looked at, and only where a marked one stands are the strings
// themselves compared.
type literals struct {
	marked  [allPairs / 64]uint64
	bucket  []int32 // by pair; 0 is none
	buckets [][]mark
	// If base is set, this one extends it; it has a map in place of the table, and
	// own are the pairs in it.
	base *literals
	own  [allPairs / 64]uint64
	more map[uint16][]mark
}

const (
	allPairs   = 1 << 16
	markLength = 3 // the shortest string there is
)

// mark is a string that is looked for.
type mark struct {
	text   string
	offset int  // of the pair in it
	fold   bool // without regard to ASCII case; text is in lower case
	kind   int  // what the caller calls it
}

func newLiterals() *literals {
	return &literals{bucket: make([]int32, allPairs), buckets: make([][]mark, 1)}
}

// extend may get further strings, for one text or a few.
func (l *literals) extend() *literals {
	return &literals{marked: l.marked, base: l, more: map[uint16][]mark{}}
}

func (l *literals) add(text string, fold bool, kind int) {
	if len(text) < markLength {
		return
	}
	best, rarest := 0, 1<<30
	for i := 0; i+markLength <= len(text); i++ {
		first, middle, last := commonness[text[i]], commonness[text[i+1]], commonness[text[i+2]]
		if common := middle * (first + last); common < rarest {
			best, rarest = i, common
		}
	}
	for offset := best; offset < best+markLength-1; offset++ {
		for _, first := range cases(text[offset], fold) {
			for _, second := range cases(text[offset+1], fold) {
				l.mark(uint16(first)|uint16(second)<<8, mark{text, offset, fold, kind})
			}
		}
	}
}

func (l *literals) mark(pair uint16, m mark) {
	l.marked[pair/64] |= 1 << (pair % 64)
	if l.base != nil {
		l.own[pair/64] |= 1 << (pair % 64)
		l.more[pair] = append(l.more[pair], m)
		return
	}
	if l.bucket[pair] == 0 {
		l.bucket[pair] = int32(len(l.buckets))
		l.buckets = append(l.buckets, nil)
	}
	l.buckets[l.bucket[pair]] = append(l.buckets[l.bucket[pair]], m)
}

func cases(c byte, fold bool) []byte {
	if fold && c >= 'a' && c <= 'z' {
		return []byte{c, c - 'a' + 'A'}
	}
	return []byte{c}
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

// find calls found for each place of a string, in order of the places of their
// pairs.
func (l *literals) find(text string, found func(kind, from, to int)) {
	table := l
	if l.base != nil {
		table = l.base
	}
	for i := 0; i+1 < len(text); i += 2 {
		pair := uint16(text[i]) | uint16(text[i+1])<<8
		if l.marked[pair/64]>>(pair%64)&1 == 0 {
			continue
		}
		compare(text, i, table.buckets[table.bucket[pair]], found)
		if l.own[pair/64]>>(pair%64)&1 != 0 {
			compare(text, i, l.more[pair], found)
		}
	}
}

// compare looks for the strings whose pair stands there.
func compare(text string, at int, marks []mark, found func(kind, from, to int)) {
	for i := range marks {
		m := &marks[i]
		from := at - m.offset
		if to := from + len(m.text); from >= 0 && to <= len(text) && m.is(text[from:to]) {
			found(m.kind, from, to)
		}
	}
}

func (m *mark) is(text string) bool {
	if !m.fold {
		return text == m.text
	}
	for i := range len(text) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != m.text[i] {
			return false
		}
	}
	return true
}
