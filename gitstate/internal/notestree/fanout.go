package notestree

import (
	"encoding/hex"
	"errors"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// Where the notes of a directory stand: git's rule, and what it takes to change
// from one fan-out to the other. See Tree for the rule.

// touch loads d for a change. A directory whose prefix notes of d have (it
// holds what is no note, or a note that found its name taken) is looked into.
func (t *Tree) touch(d *treeDir) error {
	if err := t.load(d); err != nil {
		return err
	}
	d.touched, d.hash = true, plumbing.ZeroHash
	if len(d.notes) == 0 {
		return nil
	}
	for _, s := range d.subs {
		lo, hi := d.from(int(s.last())), d.from(int(s.last())+1)
		if lo == hi {
			continue
		}
		if err := t.load(s); err != nil {
			return err
		}
		s.add(s.notes, d.notes[lo:hi])
		d.notes = slices.Delete(d.notes, lo, hi)
		if err := t.touch(s); err != nil {
			return err
		}
	}
	return nil
}

// balance gives d, which was touched, and what was touched below it the fan-out of git.
func (t *Tree) balance(d *treeDir) error {
	d.touched, d.hash = false, plumbing.ZeroHash
	if d.clash != nil {
		return d.clash
	}
	if !d.fansOut() {
		return t.gather(d)
	}
	notes := d.notes
	d.notes = nil
	for len(notes) > 0 {
		b, n := notes[0].key[d.depth], 1
		for n < len(notes) && notes[n].key[d.depth] == b {
			n++
		}
		if err := t.sink(d, notes[:n]); err != nil {
			return err
		}
		notes = notes[n:]
	}
	for _, s := range d.subs {
		if !s.touched {
			continue
		}
		if err := t.balance(s); err != nil {
			return err
		}
		if d.taken(hexByte(s.last())) { // a file has this name: up again
			if _, err := t.lift(d, s); err != nil {
				return err
			}
		}
	}
	d.subs = slices.DeleteFunc(d.subs, (*treeDir).empty)
	return d.evade(t)
}

// fansOut is determine_fanout of git: whether each first digit has two notes or
// more below it, or a directory. A directory that was touched counts by what it holds.
func (d *treeDir) fansOut() bool {
	if d.depth >= len(d.prefix)-1 {
		return false // a name has two digits at least
	}
	for digit := range 16 {
		n := d.from(16*(digit+1)) - d.from(16*digit)
		dirs := false
		lo, _ := d.findSub(byte(16 * digit))
		for _, s := range d.subs[lo:] {
			if int(s.last()>>4) != digit || dirs || n >= 2 {
				break
			}
			m, dir := s.weight()
			n, dirs = n+m, dirs || dir
		}
		if n < 2 && !dirs {
			return false
		}
	}
	return true
}

// weight returns the number of notes and of directories not looked into that d counts for,
// and whether there is one of the latter.
func (d *treeDir) weight() (n int, dirs bool) {
	if !d.touched {
		return 1, true
	}
	n = len(d.notes)
	for _, s := range d.subs {
		m, dir := s.weight()
		n, dirs = n+m, dirs || dir
	}
	return n, dirs
}

// gather brings all notes below d into d itself.
func (t *Tree) gather(d *treeDir) error {
	for _, s := range d.subs {
		if _, err := t.lift(d, s); err != nil {
			return err
		}
	}
	d.subs = slices.DeleteFunc(d.subs, (*treeDir).empty)
	d.add(d.notes, nil)
	return d.evade(t)
}

// lift moves all notes below s to the end of those of d, unsorted, and tells
// whether s was changed by it. What is no note stays in s.
func (t *Tree) lift(d, s *treeDir) (changed bool, err error) {
	if err := t.load(s); err != nil {
		return false, err
	}
	if s.clash != nil {
		return false, s.clash
	}
	changed = s.touched || len(s.notes) > 0
	s.touched = false
	d.notes = append(d.notes, s.notes...)
	s.notes = nil
	for _, c := range s.subs {
		below, err := t.lift(d, c)
		if err != nil {
			return false, err
		}
		changed = changed || below || c.empty()
	}
	s.subs = slices.DeleteFunc(s.subs, (*treeDir).empty)
	if changed {
		s.hash = plumbing.ZeroHash
	}
	return changed, nil
}

// sink moves notes, which have their next byte in common, into the directory of that byte.
func (t *Tree) sink(d *treeDir, notes []treeNote) error {
	i, ok := d.findSub(notes[0].key[d.depth])
	if !ok {
		d.subs = slices.Insert(d.subs, i, d.child(notes[0].key[d.depth]))
	}
	s := d.subs[i]
	if err := t.load(s); err != nil {
		return err
	}
	s.add(s.notes, notes)
	s.touched, s.hash = true, plumbing.ZeroHash
	return nil
}

// evade moves notes one level down whose names in d are taken by what is no note.
func (d *treeDir) evade(t *Tree) error {
	d.add(d.notes, nil)
	for _, o := range d.others {
		key := d.prefix
		if len(o.name) != 2*(len(key)-d.depth) || !IsHex([]byte(o.name)) {
			continue
		}
		_, _ = hex.Decode(key[d.depth:], []byte(o.name))
		i, ok := d.find(key)
		if !ok || d.name(key) != o.name {
			continue
		}
		n := d.notes[i]
		if d.depth >= len(n.key)-1 || d.taken(hexByte(n.key[d.depth])) {
			return errors.New("no free name in the notes tree: entries that are not notes have taken them all")
		}
		d.notes = slices.Delete(d.notes, i, i+1)
		if err := t.sink(d, []treeNote{n}); err != nil {
			return err
		}
		s := d.sub(n.key[d.depth])
		s.touched = false
		if err := s.evade(t); err != nil {
			return err
		}
	}
	return nil
}
