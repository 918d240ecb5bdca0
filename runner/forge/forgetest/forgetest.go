// Package forgetest plays GitHub and GitLab for tests: as much of their APIs as runner/forge asks for. What it
// answers is made of the types of their own clients, and a request that it does not know fails the test.
package forgetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/tmnotes/tmnotes/runner/forge"
)

// Double is a repository, acme/infra, on a forge that is played.
type Double struct {
	Config forge.Config // of who has a token for it

	tb     testing.TB
	mu     sync.Mutex
	last   int64
	pulls  []forge.PullRequest
	files  map[int][]string
	said   map[int][]forge.Comment
	issues []forge.Issue
	states map[string][]forge.Status
	faults []Fault
	asked  []string
}

// Fault is an answer in place of the right one. Done says that what was asked for is done all the same.
type Fault struct {
	Method string // "" is any
	Status int    // 0: the connection ends
	Header http.Header
	Done   bool
}

// Me is who the token of a double writes as.
const Me = "tmnotes-bot"

const token = "a-token-for-tests"

// New plays a forge until the test ends.
func New(tb testing.TB, kind forge.Kind) *Double {
	d := &Double{tb: tb, files: map[int][]string{}, said: map[int][]forge.Comment{}, states: map[string][]forge.Status{}}
	mux := http.NewServeMux()
	prefix, header, value := "", "Authorization", "Bearer "+token
	switch kind {
	case forge.GitHub:
		d.gitHub(mux)
	case forge.GitLab:
		prefix, header, value = "/api/v4", "Private-Token", token
		d.gitLab(mux)
	default:
		tb.Fatalf("nobody plays %s", kind)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		tb.Errorf("%s was asked for %s %s", kind, r.Method, r.URL)
		w.WriteHeader(http.StatusNotImplemented)
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(header) != value {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.asked = append(d.asked, r.Method+" "+r.URL.Path)
		f := d.fault(r.Method)
		if f == nil || f.Done {
			to := w
			if f != nil {
				to = httptest.NewRecorder()
			}
			http.StripPrefix(prefix, mux).ServeHTTP(to, r)
		}
		if f == nil {
			return
		}
		if f.Status == 0 {
			panic(http.ErrAbortHandler)
		}
		for k, v := range f.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(f.Status)
	}))
	tb.Cleanup(server.Close)
	d.Config = forge.Config{Kind: kind, URL: server.URL + prefix, Repository: "acme/infra", Token: token, Agent: "tmnotes/test"}
	return d
}

func (d *Double) fault(method string) *Fault {
	for i, f := range d.faults {
		if f.Method == "" || f.Method == method {
			d.faults = append(d.faults[:i:i], d.faults[i+1:]...)
			return &f
		}
	}
	return nil
}

// Fail has the next requests of a method fail.
func (d *Double) Fail(faults ...Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, faults...)
}

// Pull makes a pull request, or what it is from now on.
func (d *Double) Pull(p forge.PullRequest, files ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.pulls {
		if d.pulls[i].Number == p.Number {
			d.pulls[i] = p
			return
		}
	}
	d.pulls, d.files[p.Number] = append(d.pulls, p), files
}

// Say has somebody comment.
func (d *Double) Say(number int, author, body string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say(number, author, body)
}

func (d *Double) say(number int, author, body string) *forge.Comment {
	d.last++
	d.said[number] = append(d.said[number], forge.Comment{ID: d.last, Author: author, Body: body, URL: fmt.Sprintf("https://forge.example/pull/%d#%d", number, d.last)})
	return &d.said[number][len(d.said[number])-1]
}

// Comments are those on a pull request.
func (d *Double) Comments(number int) []forge.Comment {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]forge.Comment{}, d.said[number]...)
}

// Statuses are those of a commit, in order.
func (d *Double) Statuses(commit string) []forge.Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.states[commit]
}

// Asked is what was asked for since the last time.
func (d *Double) Asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

func (d *Double) pull(r *http.Request) *forge.PullRequest {
	n, _ := strconv.Atoi(r.PathValue("number"))
	for i := range d.pulls {
		if d.pulls[i].Number == n {
			return &d.pulls[i]
		}
	}
	return nil
}

func (d *Double) comment(r *http.Request) (number, i int) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	for number, all := range d.said {
		for i := range all {
			if all[i].ID == id {
				return number, i
			}
		}
	}
	return 0, -1
}

func (d *Double) issue(r *http.Request) *forge.Issue {
	n, _ := strconv.Atoi(r.PathValue("number"))
	for i := range d.issues {
		if d.issues[i].Number == n {
			return &d.issues[i]
		}
	}
	return nil
}

// read reads what was sent.
func (d *Double) read(r *http.Request, into any) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		d.tb.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
}

func answer(w http.ResponseWriter, status int, with any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(with)
}

func notFound(w http.ResponseWriter) {
	answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
}

// page is one of a list: what is asked for, and the next one, 0 if there is none.
func page[T any](r *http.Request, all []T) (items []T, next int) {
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	size, _ := strconv.Atoi(r.URL.Query().Get("per_page"))
	from := min(max(n-1, 0)*size, len(all))
	to := min(from+size, len(all))
	if to < len(all) {
		next = max(n, 1) + 1
	}
	return append([]T{}, all[from:to]...), next
}
