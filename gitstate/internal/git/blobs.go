package git

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
)

// ReadBlobs reads many blobs, in any order. Of an error it says which one failed.
func (r *Repo) ReadBlobs(hashes []plumbing.Hash, got func(i int, body []byte) error) (failed int, err error) {
	if len(hashes) < 8 {
		for i, h := range hashes {
			body, err := r.Read(h, plumbing.BlobObject)
			if err == nil {
				err = got(i, body)
			}
			if err != nil {
				return i, err
			}
		}
		return 0, nil
	}
	return r.stream(len(hashes), func(want func(plumbing.Hash)) error {
		for _, h := range hashes {
			want(h)
		}
		return nil
	}, got)
}

// StreamBlobs is ReadBlobs while the names are still being found: names runs in a goroutine of
// its own, calls want for each, and ends before StreamBlobs returns. Where it was names that failed, none is said
// to have.
func (r *Repo) StreamBlobs(names func(want func(plumbing.Hash)) error, got func(i int, body []byte) error) (failed int, err error) {
	return r.stream(streamed, names, got)
}

func (r *Repo) stream(together int, names func(want func(plumbing.Hash)) error, got func(i int, body []byte) error) (failed int, err error) {
	queue, work := make(chan *batch, found), make(chan *batch, found)
	ahead := make(chan struct{}, batches)
	named := make(chan error, 1)
	var over atomic.Bool
	go func() {
		var next []plumbing.Hash
		sent := 0
		send := func() {
			r.objects().inOrder(next, sent, func(b *batch) {
				queue <- b
				work <- b
			})
			sent, next, together = sent+len(next), next[:0], 2*together
		}
		err := names(func(h plumbing.Hash) {
			if next = append(next, h); len(next) == together {
				send()
			}
		})
		send()
		close(queue)
		close(work)
		named <- err
	}()
	for range min(2, runtime.NumCPU()) {
		go func() {
			o := r.reader()
			defer r.readers.Put(o)
			for {
				ahead <- struct{}{} // before a batch is taken: all that come before it have a place
				b, more := <-work
				if !more {
					<-ahead
					return
				}
				if !over.Load() {
					o.batch(b)
				}
				close(b.done)
			}
		}()
	}
	for b := range queue {
		<-b.done
		<-ahead
		for k, w := range b.wanted {
			if err != nil {
				break // so that all that was begun ends
			}
			body := b.bodies[k]
			if body == nil {
				if body, err = r.ask(w.name, plumbing.BlobObject); err != nil {
					err = fmt.Errorf("blob %s: %w", w.name, err)
				}
			}
			if err == nil {
				err = got(w.i, body)
			}
			failed = w.i
		}
		if err != nil {
			over.Store(true)
		}
	}
	if namesErr := <-named; err == nil && namesErr != nil {
		return -1, namesErr
	}
	return failed, err
}

// A batch of blobs is read at once.
type batch struct {
	wanted []wanted
	bodies [][]byte // nil where git has to be asked
	done   chan struct{}
}

// wanted is a blob that somebody asked for as the i-th.
type wanted struct {
	i    int
	name plumbing.Hash
	at   place // the zero one if it is in no pack
}

const (
	batchOf     = 32
	mostBatched = 4 * batchOf
	batches     = 16      // that are read ahead
	found       = 1 << 12 // that wait to be

	// streamed is how many names are waited for at first, then twice as many, and so on: the more are read
	// together, the less often what many deltas are on is read for another of them.
	streamed = 1 << 10
)

// inOrder hands on blobs in batches, as they stand in the packs: what a delta is on stands shortly
// before it, as a rule, so that it was just read. Hence also no batch begins with a delta, if it can.
// The first of the hashes was asked for as the first-th.
func (s *store) inOrder(hashes []plumbing.Hash, first int, send func(*batch)) {
	all := make([]wanted, len(hashes))
	o := &objectReader{store: s}
	for i, h := range hashes {
		all[i] = wanted{first + i, h, o.place(h)}
	}
	slices.SortStableFunc(all, func(a, b wanted) int {
		return cmp.Or(a.at.in.order()-b.at.in.order(), cmp.Compare(a.at.at, b.at.at))
	})
	for len(all) > 0 {
		n := min(batchOf, len(all))
		for n < min(mostBatched, len(all)) && all[n].at.isDelta() {
			n++
		}
		send(&batch{wanted: all[:n:n], bodies: make([][]byte, n), done: make(chan struct{})})
		all = all[n:]
	}
}

func (p *pack) order() int {
	if p == nil {
		return -1
	}
	return p.number
}

func (p place) isDelta() bool {
	var head [1]byte
	if p.in == nil {
		return false
	}
	_, err := p.in.data.ReadAt(head[:], p.at)
	kind := plumbing.ObjectType(head[0] >> 4 & 7)
	return err == nil && (kind == plumbing.OFSDeltaObject || kind == plumbing.REFDeltaObject)
}

// batch reads one.
func (o *objectReader) batch(b *batch) {
	for k, w := range b.wanted {
		find := o.loose
		if w.at.in != nil {
			find = func(plumbing.Hash) (plumbing.ObjectType, []byte, error) { return o.at(w.at.in, w.at.at, 0) }
		}
		if t, body, err := find(w.name); err == nil && t == plumbing.BlobObject && o.named(t, body, w.name) {
			b.bodies[k] = body
		}
	}
}

// reader is one that nobody else uses; who is done with it gives it back to r.readers.
func (r *Repo) reader() *objectReader {
	if o, ok := r.readers.Get().(*objectReader); ok {
		return o
	}
	return &objectReader{store: r.objects()}
}
