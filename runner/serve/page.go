package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tmnotes/tmnotes/gitstate/report"
	"github.com/tmnotes/tmnotes/runner"
)

// livePage shows the report of a repository as it is now. It only reads.
//
// Who has the token of the API may read it. A browser hands it in once, in a
// form, and gets a cookie that is derived from it: the page takes it, the API,
// which can record, does not. (With HTTP's own Basic authentication a browser
// would send the token to the API too, whatever page of whoever made it do so.)
// The token is in no address that a server or a proxy could log: a link may have
// it behind a "#", which stays in the browser.
//
// The page asks for itself again every few seconds, and is sent only if it is
// another one. That needs no connection that stays, and works behind any proxy.
type livePage struct {
	host   *Host
	token  string
	report func() (*report.Report, error)

	mu      sync.Mutex // guards what follows
	made    time.Time
	took    time.Duration // to make it
	now     madePage
	err     error
	fetched error // why the remote could not be asked the last time
	asking  sync.Mutex
}

// madePage is a report as it is sent.
type madePage struct {
	etag             string
	html, zipped, js []byte
}

// register adds the page to a server. authorize lets through who has the token as
// the API is told it.
func (l *livePage) register(mux *http.ServeMux, authorize func(http.Handler) http.Handler) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.send(w, r, "text/html; charset=utf-8", func(m *madePage) []byte { return m.html })
	})
	data := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.send(w, r, "application/json", func(m *madePage) []byte { return m.js })
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case l.signedIn(r):
			page(w, r)
		case r.Header.Get("Authorization") != "":
			authorize(page).ServeHTTP(w, r)
		default:
			signIn(w, "")
		}
	})
	mux.HandleFunc("GET /report.json", func(w http.ResponseWriter, r *http.Request) {
		if l.signedIn(r) {
			data(w, r)
			return
		}
		authorize(data).ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /session", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if !same(strings.TrimSpace(r.PostFormValue("token")), l.token) {
			signIn(w, "This is not the server's token.")
			return
		}
		name, value := l.cookie()
		http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// cookie is named after the token, since browsers send a cookie to all servers
// of a host, whatever their port.
func (l *livePage) cookie() (name, value string) {
	sum := sha256.Sum256([]byte("tmnotes page\x00" + l.token))
	return "tmnotes-" + hex.EncodeToString(sum[:4]), hex.EncodeToString(sum[8:])
}

func (l *livePage) signedIn(r *http.Request) bool {
	name, want := l.cookie()
	c, err := r.Cookie(name)
	return err == nil && same(c.Value, want)
}

func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// send answers with what is known now, if the client does not have it yet.
func (l *livePage) send(w http.ResponseWriter, r *http.Request, kind string, part func(*madePage) []byte) {
	now, err := l.current()
	h := w.Header()
	h.Set("Content-Security-Policy", report.Policy(true)+"; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Accept-Encoding, Cookie, Authorization")
	if err != nil {
		http.Error(w, runner.Printable(err.Error()), http.StatusServiceUnavailable)
		return
	}
	h.Set("ETag", now.etag)
	if r.Header.Get("If-None-Match") == now.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", kind)
	body := part(&now)
	if kind != "application/json" && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = now.zipped
	}
	_, _ = w.Write(body)
}

// current is the page as it is now, made anew unless it was made just now: a
// large one takes at most a fifth of the time.
func (l *livePage) current() (madePage, error) {
	go l.fetch()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.made.IsZero() && time.Since(l.made) < max(time.Second, 4*l.took) {
		return l.now, l.err
	}
	start := time.Now()
	l.err = l.make()
	l.made, l.took = time.Now(), time.Since(start)
	return l.now, l.err
}

func (l *livePage) make() error {
	r, err := l.report()
	if err != nil {
		return err
	}
	// When it was made does not make it another one.
	timeless := *r
	timeless.At, timeless.Fetched, timeless.Figures.Until = time.Time{}, time.Time{}, time.Time{}
	timeless.Figures.PerDay = math.Round(timeless.Figures.PerDay*100) / 100
	page := report.Page{Live: "/"}
	if l.fetched != nil {
		page.Problem = fmt.Sprintf("What others recorded lately may be missing: %v.", l.fetched)
	}
	var b bytes.Buffer
	if err := timeless.WriteJSON(&b); err != nil {
		return err
	}
	sum := sha256.Sum256(append(b.Bytes(), page.Problem...))
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	if etag == l.now.etag {
		return nil
	}
	var js, html, zipped bytes.Buffer
	if err := r.WriteJSON(&js); err != nil {
		return err
	}
	if page.Problem == "" {
		r.Remote = "" // which is asked all the time
	}
	if err := r.WritePage(&html, page); err != nil {
		return err
	}
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(html.Bytes()) // a buffer takes everything
	_ = z.Close()
	l.now = madePage{etag, html.Bytes(), zipped.Bytes(), js.Bytes()}
	return nil
}

// fetch brings the remote's notes, unless they were brought just now or
// somebody is at it. Nobody waits for it: the page says what is here.
func (l *livePage) fetch() {
	if !l.asking.TryLock() {
		return
	}
	defer l.asking.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := l.host.refresh(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetched = err
}

// end waits for what is under way.
func (l *livePage) end() { l.asking.Lock() }

const (
	signInCSS = `:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100dvh;margin:0}` +
		`form{width:min(22rem,90vw)}h1{font-size:20px;margin:0 0 12px}input,button{font:inherit;width:100%;box-sizing:border-box;height:38px;margin-top:8px;padding:0 10px}p{margin:10px 0}`
	// A link with #token=… signs in by itself, and the token leaves the address.
	signInJS = `const m=/^#token=(.+)$/.exec(location.hash);if(m){history.replaceState(null,"","/");const f=document.forms[0];f.token.value=decodeURIComponent(m[1]);f.submit()}`
)

const signInHTML = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>tmnotes</title><style>{{.CSS}}</style></head>
<body><form method="post" action="/session"><h1>tmnotes</h1>{{with .Problem}}<p role="alert">{{.}}</p>{{end}}
<label for="token">The server's token (it is in the file that tmnotes serve named when it started)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus><button>Show the page</button></form>
<script>{{.JS}}</script></body></html>
`

// signIn asks a browser for the token.
func signIn(w http.ResponseWriter, problem string) {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src "+hash(signInJS)+"; style-src "+hash(signInCSS)+"; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusUnauthorized)
	_ = template.Must(template.New("").Parse(signInHTML)).Execute(w, map[string]any{"CSS": template.CSS(signInCSS), "JS": template.JS(signInJS), "Problem": problem})
}
