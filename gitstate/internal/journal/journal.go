// Package journal is the file in which records are safe before they are in the notes.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
)

// Journal is where records are acknowledged: append-only files below
// .git/tmnotes/journal/, one a run, each line with a checksum. The notes are
// made from it; what a foreign writer took out of the notes is put back from
// it. FORMAT.md has the format of its lines.
type Journal struct {
	Dir  string
	Name string // of the file that this process appends to
	Say  func(string)

	mu     sync.Mutex
	next   *batch     // those who wait for the write that has not begun
	io     sync.Mutex // held while a batch is written
	linked bool       // the file's entry in its folder is on the disk
}

// batch is what one write and one fsync acknowledge together.
type batch struct {
	data []byte
	sync bool
	done chan struct{}
	err  error
}

// Entry is a line that was acknowledged for a commit.
type Entry struct {
	Commit plumbing.Hash
	Line   string
}

// Encode appends an entry to b as the journal has it.
func Encode(b []byte, e Entry) []byte {
	body := e.Commit.String() + " " + e.Line
	return append(fmt.Appendf(b, "%08x ", crc32.ChecksumIEEE([]byte(body))), body+"\n"...)
}

func decodeJournal(line string) (Entry, bool) {
	sum, body, ok := strings.Cut(line, " ")
	commit, text, ok2 := strings.Cut(body, " ")
	if !ok || !ok2 || !plumbing.IsHash(commit) || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) {
		return Entry{}, false
	}
	return Entry{plumbing.NewHash(commit), text}, true
}

// Append returns when the lines are in the file and, with sync, on the disk.
// Calls that come while another one writes share the next write.
func (j *Journal) Append(entries []Entry, sync bool) error {
	j.mu.Lock()
	b := j.next
	leader := b == nil
	if leader {
		b = &batch{done: make(chan struct{})}
		j.next = b
	}
	for _, e := range entries {
		b.data = Encode(b.data, e)
	}
	b.sync = b.sync || sync
	j.mu.Unlock()
	if leader {
		j.io.Lock()
		j.mu.Lock()
		j.next = nil
		j.mu.Unlock()
		b.err = j.write(b.data, b.sync)
		j.io.Unlock()
		close(b.done)
	}
	<-b.done
	return b.err
}

// Sync makes durable what this process appended so far.
func (j *Journal) Sync() error {
	j.io.Lock()
	defer j.io.Unlock()
	f, err := os.OpenFile(filepath.Join(j.Dir, j.Name), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // pushed and removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("syncing the journal: %w", err)
	}
	defer f.Close()
	if err := j.sync(f); err != nil {
		return fmt.Errorf("syncing the journal: %w", err)
	}
	return nil
}

// sync brings the file to the disk, and its entry in its folder: whoever made the file may not have
// waited for that.
func (j *Journal) sync(f *os.File) error {
	err := f.Sync()
	if err == nil && !j.linked {
		err = git.SyncDir(j.Dir)
		j.linked = err == nil
	}
	return err
}

// lock keeps writers and the removal of files apart, across processes.
func (j *Journal) lock() (unlock func(), err error) {
	return git.LockBriefly(context.Background(), filepath.Join(filepath.Dir(j.Dir), "journal.lock"), j.Say)
}

func (j *Journal) write(data []byte, sync bool) error {
	unlock, err := j.lock()
	if err != nil {
		return err
	}
	path := filepath.Join(j.Dir, j.Name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		j.linked = false
		f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o666)
	}
	if err == nil {
		if err = cutTorn(f); err == nil {
			if size, serr := f.Seek(0, io.SeekEnd); serr == nil && size == 0 {
				data = append([]byte(journalHead+ulid.Make().String()+"\n"), data...)
			}
			_, err = f.Write(data)
		}
	}
	unlock()
	if f != nil {
		defer f.Close()
	}
	if err == nil && sync {
		err = j.sync(f)
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// A journal begins with a name of its own, so that a file that was removed and
// made anew is not taken for the one that was read before.
const journalHead = "journal "

// cutTorn removes what a writer that was killed in the middle of a line left
// at the end: it was never acknowledged.
func cutTorn(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil || last[0] == '\n' {
		return err
	}
	end, buf := size, make([]byte, 4096)
	for end > 0 {
		n := min(int64(len(buf)), end)
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			end = end - n + int64(i) + 1
			break
		}
		end -= n
	}
	return f.Truncate(end)
}

// JournalFile is one file as it was read.
type JournalFile struct {
	Name    string
	Id      string // from its first line
	Size    int64
	from    int64 // what is before it need not be read
	Mod     time.Time
	Entries []Entry
	Damaged int // lines whose checksum is wrong: never acknowledged, or a bad disk
}

// Files lists the journal without reading it.
func (j *Journal) Files() ([]JournalFile, error) {
	list, err := os.ReadDir(j.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	var files []JournalFile
	for _, d := range list {
		if d.IsDir() || !strings.HasSuffix(d.Name(), ".log") {
			continue
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // its lines were pushed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("reading the journal: %w", err)
		}
		files = append(files, JournalFile{Name: d.Name(), Size: info.Size(), Mod: info.ModTime()})
	}
	return files, nil
}

// Read fills in a file's entries. A last line without its end is one that is
// being written, or that was never acknowledged.
//
// seen says by a file's id up to where its lines are known; nil: nowhere.
func (j *Journal) Read(f *JournalFile, seen func(id string) int64) error {
	file, err := os.Open(filepath.Join(j.Dir, f.Name))
	if errors.Is(err, os.ErrNotExist) {
		f.Size = 0
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	defer file.Close()
	head := make([]byte, len(journalHead)+ulid.EncodedSize)
	if n, _ := file.ReadAt(head, 0); n == len(head) && strings.HasPrefix(string(head), journalHead) {
		f.Id = string(head[len(journalHead):])
	}
	if f.from = 0; seen != nil {
		f.from = seen(f.Id)
	}
	if f.from > f.Size {
		f.from = 0
	}
	data, err := io.ReadAll(io.NewSectionReader(file, f.from, 1<<62))
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	f.Size = f.from + int64(end)
	for line := range strings.SplitSeq(strings.TrimSuffix(string(data[:end]), "\n"), "\n") {
		if e, ok := decodeJournal(line); ok {
			f.Entries = append(f.Entries, e)
		} else if line != "" && !strings.HasPrefix(line, journalHead) {
			f.Damaged++
		}
	}
	return nil
}

// Remove deletes a file if nothing was added since it was read.
func (j *Journal) Remove(f JournalFile) error {
	unlock, err := j.lock()
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(j.Dir, f.Name)
	info, err := os.Stat(path)
	if err != nil || info.Size() != f.Size {
		return nil
	}
	return os.Remove(path)
}
