package gitstate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/oklog/ulid/v2"

	"github.com/tmnotes/tmnotes/gitstate/internal/git"
	"github.com/tmnotes/tmnotes/gitstate/internal/journal"
	"github.com/tmnotes/tmnotes/gitstate/internal/notestree"
	"github.com/tmnotes/tmnotes/gitstate/note"
)

// Options say which store to open. The zero value is the store of the working
// directory with its configured ref.
type Options struct {
	Dir        string   // "" is the working directory
	Environ    []string // of the git commands; its secrets are not recorded; nil is that of this process
	Ref        string   // notes ref; "" is git config tmnotes.ref, or DefaultRef
	Now        func() time.Time
	StaleAfter time.Duration // when a running record of another machine counts as interrupted; 0 is git config tmnotes.staleAfter, or DefaultStaleAfter
	// NetworkTimeout is how long a remote is waited for; 0 is git config
	// tmnotes.networkTimeout, or DefaultNetworkTimeout.
	NetworkTimeout time.Duration
	// Warn gets one line for each thing that a person should know and that is
	// no error; nil drops them.
	Warn func(string)
}

// Store is the notes of one repository: what is read of them, and how they come from the
// journal to the notes. [Store.Writer] records, [Store.Remote] travels. It may be used from
// several goroutines, and several processes may have the same repository open.
//
// Errors of its methods: a note, a ref, an object or the journal that could
// not be read is always an error, never an empty answer. What asks a remote
// wraps ErrRemote.
type Store struct {
	repo       *git.Repo
	ref        string
	private    string // .git/tmnotes
	now        func() time.Time
	staleAfter time.Duration
	warn       func(string)
	readOnly   error // why nothing can be written, if so
	redactor   *note.Redactor
	syncing    chan struct{} // holds one who fetches or pushes
	textless   atomic.Bool   // the remote refused texts
	lagged     atomic.Bool   // a remote was seen to give a fetch less than it has
	saidOlder  atomic.Bool
	targets    sync.Map    // by remote: what a push goes to
	apart      sync.Map    // by remote: whether fetches and pushes go to different places
	shadowed   atomic.Bool // a remote has tags or branches that are named like our refs
	spoolName  string      // of this process, if it has one of its own
	identity   identity

	journal      *journal.Journal
	localJournal *journal.Journal
	stays        func(op string) bool // whether its records stay here; nil: none do
	carry        bool                 // what stayed here is to be shared

	mu    sync.Mutex
	named []string                        // refs of remotes that were warned of
	tally *tally                          // what was counted last
	known map[string]plumbing.Hash        // by remote: the newest notes that were seen or put there
	grown map[plumbing.Hash]plumbing.Hash // by commit of a flush of this process: the one before
	long  longNotes
	last  *index // that was made or read last, which is not changed any more

	networkTimeout time.Duration
	lagPatience    time.Duration

	demand   *Demand // who may sign; nil where that is not set
	required bool    // and what they did not sign does not count
	trustMu  sync.Mutex
	trust    *trust // as it was read last
	signing  signing
}

// Open opens the store of a repository, and brings what an earlier process
// left in the journal into reach of the reading methods. See ErrNoRepository
// and ErrUnsupported.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.Dir == "" {
		opt.Dir = "."
	}
	if opt.Environ == nil {
		opt.Environ = os.Environ()
	}
	r, err := git.Open(ctx, opt.Dir, opt.Environ)
	if err != nil {
		return nil, err
	}
	s := &Store{repo: r, private: filepath.Join(r.CommonDir, "tmnotes"), now: opt.Now, warn: opt.Warn,
		redactor: note.NewRedactor(opt.Environ), syncing: make(chan struct{}, 1)}
	if s.now == nil {
		s.now = time.Now
	}
	if s.warn == nil {
		s.warn = func(string) {}
	}
	if err := s.configure(ctx, opt); err != nil {
		r.Close()
		return nil, err
	}
	s.openJournals()
	if err := s.mend(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return s, nil
}

// configure takes what the options leave open from git's configuration.
func (s *Store) configure(ctx context.Context, opt Options) (err error) {
	if s.staleAfter, err = s.duration(opt.StaleAfter, "staleAfter", "90m or 6h", DefaultStaleAfter); err != nil {
		return err
	}
	if s.networkTimeout, err = s.duration(opt.NetworkTimeout, "networkTimeout", "90s or 5m", DefaultNetworkTimeout); err != nil {
		return err
	}
	s.lagPatience = min(maxLag, s.networkTimeout/2)
	s.repo.Patience = s.networkTimeout
	if err := s.checkIdentity(); err != nil {
		return err
	}
	s.ref, err = s.fullRef(ctx, cmp.Or(opt.Ref, s.Config("ref"), DefaultRef))
	return err
}

// duration is a time that is given, else that of a key of the configuration, else usual.
func (s *Store) duration(given time.Duration, key, like string, usual time.Duration) (time.Duration, error) {
	v := s.Config(key)
	switch {
	case given > 0:
		return given, nil
	case v == "":
		return usual, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s: %q is not a duration; write it like %s", s.ConfigName(key), v, like)
	}
	return d, nil
}

// openJournals makes the folder of the journal. Where that cannot be, or nothing can be
// made in it, the store is only read.
func (s *Store) openJournals() {
	s.journal = &journal.Journal{Dir: filepath.Join(s.private, "journal"), Name: "local.log", Say: s.warn}
	s.localJournal = &journal.Journal{Dir: filepath.Join(s.private, "local-journal"), Name: "local.log", Say: s.warn}
	if s.ref != DefaultRef {
		s.journal.Dir += "-" + s.refName()
		s.localJournal.Dir += "-" + s.refName()
	}
	_, err := os.Stat(s.journal.Dir)
	if !errors.Is(err, os.ErrNotExist) {
		err = writable(s.private)
	} else if err = os.MkdirAll(s.journal.Dir, 0o777); err == nil {
		err = errors.Join(git.SyncDir(s.private), git.SyncDir(s.repo.CommonDir))
	}
	if err != nil {
		s.readOnly = fmt.Errorf("%w: %v", ErrReadOnly, err)
	}
}

// writable tries whether files can be made in a folder, by one that is needed
// in any case.
func writable(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

// fullRef is what `git notes --ref` makes of a name (git-notes(1)).
func (s *Store) fullRef(ctx context.Context, name string) (string, error) {
	ref := name
	switch {
	case strings.HasPrefix(name, "refs/notes/"):
	case strings.HasPrefix(name, "notes/"):
		ref = "refs/" + name
	default:
		ref = "refs/notes/" + name
	}
	if ref == DefaultRef {
		return ref, nil
	}
	if _, err := s.repo.Git(ctx, nil, "check-ref-format", ref); err != nil {
		return "", fmt.Errorf("%q is not the name of a notes ref; use one like refs/notes/tmnotes", name)
	}
	if strings.HasSuffix(ref, textsSuffix) {
		return "", fmt.Errorf("%s is where the texts that belong to %s are kept; use another name", ref, strings.TrimSuffix(ref, textsSuffix))
	}
	if strings.HasSuffix(ref, claimsSuffix) {
		return "", fmt.Errorf("%s is where the locks of %s are kept; use another name", ref, strings.TrimSuffix(ref, claimsSuffix))
	}
	return ref, nil
}

// Close ends the children of the store. What was acknowledged stays.
func (s *Store) Close() { s.repo.Close() }

// Ref is the full name of the notes ref.
func (s *Store) Ref() string { return s.ref }

// GitDir is the common directory of the repository.
func (s *Store) GitDir() string { return s.repo.CommonDir }

// WorkTree is the top of the work tree, "" in a bare repository.
func (s *Store) WorkTree() string { return s.repo.WorkTree }

// ConfigFile is where settings tmnotes.* can stand in the repository itself, at the
// top of the work tree, in the syntax of git's configuration. That wins over it, as
// with .lfsconfig.
const ConfigFile = git.ConfigFile

// Config is the value of a key tmnotes.* of git's configuration or, where it has
// none, of ConfigFile; "" if unset.
func (s *Store) Config(key string) string { return s.repo.Setting("tmnotes." + key) }

// ConfigAll are all values of a key that may have several, in order, of the one or of
// the other.
func (s *Store) ConfigAll(key string) []string { return s.repo.Settings("tmnotes." + key) }

// ConfigName says where the value of Config stands, for messages.
func (s *Store) ConfigName(key string) string {
	if s.IsCommitted(key) {
		return ConfigFile + ": tmnotes." + key
	}
	return "git config tmnotes." + key
}

// IsCommitted says whether the value of Config is one of ConfigFile.
func (s *Store) IsCommitted(key string) bool {
	return s.repo.Config["tmnotes."+strings.ToLower(key)] == nil && s.Config(key) != ""
}

// ConfigKeys are the keys that are set, in lower case: tmnotes.* of git's
// configuration, and whatever stands in ConfigFile.
func (s *Store) ConfigKeys() (git, file []string) {
	for k := range s.repo.Config {
		if strings.HasPrefix(k, "tmnotes.") {
			git = append(git, k)
		}
	}
	slices.Sort(git)
	return git, slices.Sorted(maps.Keys(s.repo.Committed))
}

// Commit is a commit that can be annotated.
type Commit struct {
	Hash    string
	Time    time.Time // the committer's
	Subject string
}

// Resolve finds a commit by anything that git takes for a name of one. HEAD of
// a repository without commits is ErrNoCommit.
func (s *Store) Resolve(rev string) (Commit, error) {
	c, err := s.repo.Commit(rev + "^{commit}")
	if errors.Is(err, git.ErrMissing) {
		if rev == "HEAD" {
			return Commit{}, fmt.Errorf("%w; commit something first", ErrNoCommit)
		}
		return Commit{}, fmt.Errorf("%s is not a commit in this clone; `git fetch` may bring it", rev)
	}
	if err != nil {
		return Commit{}, err
	}
	subject, _, _ := strings.Cut(c.Message, "\n")
	return Commit{c.Hash.String(), c.Committer.When, subject}, nil
}

// Has reports whether a commit is here; a shallow or filtered clone may lack it.
func (s *Store) Has(commit string) (bool, error) {
	_, err := s.repo.Commit(commit)
	if errors.Is(err, git.ErrMissing) {
		return false, nil
	}
	return err == nil, err
}

// NewRun makes the id of a run: a ULID, so that runs sort by time.
func (s *Store) NewRun() string {
	return ulid.MustNew(ulid.Timestamp(s.now()), ulid.DefaultEntropy()).String()
}

// tip is the notes commit and its tree; both zero if there is no such ref. In place
// of a ref it takes the name of a commit, which has to be here.
func (s *Store) tip(ref string) (commit, tree plumbing.Hash, err error) {
	h := plumbing.NewHash(ref)
	if !plumbing.IsHash(ref) {
		if h, err = s.repo.Resolve(ref); err != nil || h.IsZero() {
			return h, plumbing.ZeroHash, err
		}
	}
	c, err := s.repo.Commit(h.String())
	if err != nil {
		return h, plumbing.ZeroHash, fmt.Errorf("%s: %w", ref, err)
	}
	return h, c.TreeHash, nil
}

func (s *Store) openTree(tree plumbing.Hash) (*notestree.Tree, error) {
	t, err := notestree.Open(s.repo.Read, tree)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w; `git fsck` tells more, and a clone or the remote has a copy", s.ref, err)
	}
	return t, nil
}

// text is the text of a commit's note in a tree: of several blobs, all.
func (s *Store) text(blobs []plumbing.Hash) (string, error) {
	var b strings.Builder
	for _, h := range blobs {
		body, err := s.repo.Read(h, plumbing.BlobObject)
		if err != nil {
			return "", err
		}
		b.Write(body)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// State reads what is the latest of every stack: from the index as far as it
// goes, from the notes where it does not, and from the journal what is not in
// the notes yet. It changes nothing in the Store; see [Writer.Follow].
func (s *Store) State(ctx context.Context) (*State, error) {
	read := time.Now()
	t, tree, overlay, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	by, err := s.trusted(ctx)
	if err != nil {
		return nil, err
	}
	x, err := s.index(t, tree, by)
	if err != nil {
		return nil, err
	}
	if len(overlay) > 0 {
		if x = x.clone(); !x.apply(overlay) {
			if x, err = s.rebuild(t, tree, overlay, by); err != nil {
				return nil, err
			}
		}
	}
	by.save()
	return &State{s: s, x: x, read: read}, nil
}
