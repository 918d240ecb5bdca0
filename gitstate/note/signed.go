package note

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signed is the event of a line by which a run vouches for others of its lines on a commit.
const Signed = "signed"

// The keys of a signed line. They are in order, and nothing comes after the last.
const (
	coversKey    = "covers"
	keyKey       = "key"
	othersKey    = "others"
	repoKey      = "repo"
	signatureKey = "sig"
)

// LineID names a line in a signed one: the first bytes of the SHA-256 of its bytes, without the
// newline. A second line with the same name takes 2^160 tries, two lines with one 2^80.
type LineID [20]byte

// IDOf names a line.
func IDOf(line string) (id LineID) {
	sum := sha256.Sum256([]byte(line))
	copy(id[:], sum[:])
	return id
}

// inTombstone is the id of the line that a tombstone names by its digest.
func inTombstone(digest string) (id LineID, ok bool) {
	for i := range id {
		if 2*i+1 >= len(digest) {
			return id, false
		}
		hi, lo := strings.IndexByte(hexDigits, digest[2*i]), strings.IndexByte(hexDigits, digest[2*i+1])
		if hi < 0 || lo < 0 {
			return id, false
		}
		id[i] = byte(hi<<4 | lo)
	}
	return id, true
}

const hexDigits = "0123456789abcdef"

// Removed is the id of the line that a tombstone took away.
func (r *Record) Removed() (id LineID, ok bool) {
	if r.Event != Forgotten {
		return id, false
	}
	return inTombstone(r.Digest)
}

// Vouched is what a signed line says of others. Of lines whose absence could have a stack
// taken for deployed it has the slots as well: what takes one away cannot hide whose it was.
type Vouched struct {
	Repository string // whose commit it is
	Key        string // the signer's, as its program names it
	Lines      []LineID
	Others     []Other // of the first of Lines, one for each
}

// Other is the slot of a record. That of a drift run has its status and its time, too, since a later
// one that says the same stands for it (see Normal).
type Other struct {
	Op, Target, Stack, ID, Backend string
	Status                         Status
	At                             time.Time
}

// Other is what a signed line names of a record; ok is false if it may go: a drift run that found nothing
// says no more than that an earlier one did, and who is released may be held again.
func (r *Record) Other() (o Other, ok bool) {
	o = Other{Op: r.Op, Target: r.Target, Stack: r.Stack, ID: r.ID, Backend: r.Backend()}
	drift := GroupOf(r.Op) == Drift
	if drift && r.Status != "" {
		o.Status, o.At = r.Status, r.At
	}
	return o, r.Event == Forgotten && r.Stack != "" || r.Status != "" && r.Status != Released && !(drift && r.Status == OK)
}

// Same reports whether two are of one slot, as far as a tombstone names it.
func (o *Other) Same(p *Other) bool {
	return o.Op == p.Op && o.Target == p.Target && o.Stack == p.Stack && o.ID == p.ID && o.Backend == p.Backend
}

// Vouch makes the line that vouches for others of the run, leg and commit, but for its
// signature. No line that is not final is among them.
func Vouch(by Record, repository, key string, lines []string) Record {
	type named struct {
		id    LineID
		other *Other
	}
	all := make([]named, 0, len(lines))
	for _, line := range lines {
		n := named{id: IDOf(line)}
		if r, err := ParseRecord(line); err == nil {
			if o, is := r.Other(); is {
				n.other = &o
			}
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b named) int {
		if (a.other == nil) != (b.other == nil) {
			if a.other != nil {
				return -1
			}
			return 1
		}
		return slices.Compare(a.id[:], b.id[:])
	})
	var covers strings.Builder
	var others []string
	for _, n := range all {
		covers.WriteString(base64.RawURLEncoding.EncodeToString(n.id[:]))
		if n.other != nil {
			others = append(others, n.other.String())
		}
	}
	by.Event = Signed
	by.setExtra(coversKey, covers.String())
	by.setExtra(othersKey, strings.Join(others, " "))
	by.setExtra(keyKey, key)
	by.setExtra(repoKey, repository)
	return by
}

// Of an entry no word has a blank, a colon or a percent sign of its own.
var (
	escapeOther   = strings.NewReplacer("%", "%25", ":", "%3A", " ", "%20")
	unescapeOther = strings.NewReplacer("%25", "%", "%3A", ":", "%20", " ")
)

func (o *Other) String() string {
	words := []string{o.Op, o.Target, o.Stack, o.ID, o.Backend}
	if o.Status != "" {
		words = append(words, string(o.Status), strconv.FormatInt(o.At.UnixMilli(), 36))
	}
	for i := range words {
		words[i] = escapeOther.Replace(words[i])
	}
	return strings.TrimRight(strings.Join(words, ":"), ":")
}

// Vouched reads what a signed line says.
func (r *Record) Vouched() (v Vouched, err error) {
	v.Repository, v.Key = r.extra(repoKey), r.extra(keyKey)
	const each = 27 // characters of base64
	covers := r.extra(coversKey)
	if r.Event != Signed || len(covers)%each != 0 {
		return v, errors.New("it names no lines")
	}
	v.Lines = make([]LineID, 0, len(covers)/each)
	for ; covers != ""; covers = covers[each:] {
		var id LineID
		if n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(covers[:each])); err != nil || n != len(id) {
			return v, errors.New("it names no lines")
		}
		v.Lines = append(v.Lines, id)
	}
	others := r.extra(othersKey)
	v.Others = make([]Other, 0, strings.Count(others, " ")+1)
	for entry := range strings.SplitSeq(others, " ") {
		if entry == "" {
			continue
		}
		o, ok := parseOther(entry)
		if !ok {
			return v, errors.New("it names no stacks")
		}
		v.Others = append(v.Others, o)
	}
	if len(v.Others) > len(v.Lines) {
		return v, errors.New("it names more stacks than lines")
	}
	return v, nil
}

func parseOther(entry string) (o Other, ok bool) {
	var words [7]string
	n := 0
	for word := range strings.SplitSeq(entry, ":") {
		if n == len(words) {
			return o, false
		}
		if strings.IndexByte(word, '%') >= 0 {
			word = unescapeOther.Replace(word)
		}
		words[n] = word
		n++
	}
	o = Other{Op: words[0], Target: words[1], Stack: words[2], ID: words[3], Backend: words[4], Status: Status(words[5])}
	if o.Status != "" {
		at, err := strconv.ParseInt(words[6], 36, 64)
		if err != nil {
			return o, false
		}
		o.At = time.UnixMilli(at).UTC()
	}
	return o, true
}

// Payload is what the signature of a line without one is made over.
func (r *Record) Payload() (string, error) {
	line, err := r.Line()
	return line + "\n", err
}

// Sign adds the signature to a line that has none.
func (r *Record) Sign(signature []byte) {
	r.setExtra(signatureKey, base64.RawStdEncoding.EncodeToString(signature))
}

// SplitSigned parts a signed line into what the signature is over, and the signature.
func SplitSigned(line string) (payload string, signature []byte, err error) {
	i := strings.LastIndex(line, " "+signatureKey+"=")
	if i < 0 {
		return "", nil, errors.New("it has no signature")
	}
	signature, err = base64.RawStdEncoding.Strict().DecodeString(line[i+len(" "+signatureKey+"="):])
	if err != nil || len(signature) == 0 {
		return "", nil, errors.New("its signature is not base64")
	}
	return line[:i] + "\n", signature, nil
}
