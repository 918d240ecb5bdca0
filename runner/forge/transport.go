package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Error is a request that a forge did not do.
type Error struct {
	Host, Method, Path string
	Status             int    // 0: there was no answer
	Message            string // what the forge says
	Until              time.Time
	Err                error
}

func (e *Error) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("%s cannot be reached: %v", e.Host, e.Err)
	case !e.Until.IsZero():
		return fmt.Sprintf("%s takes no more requests until %s (%d %s)", e.Host, e.Until.Local().Format("15:04:05"), e.Status, e.Message)
	}
	return strings.TrimSuffix(fmt.Sprintf("%s %s%s: %d %s", e.Method, e.Host, e.Path, e.Status, e.Message), " ")
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes ErrNotFound of what is not there.
func (e *Error) Is(target error) bool {
	return target == ErrNotFound && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// Refused says that the token was not enough.
func (e *Error) Refused() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Until.IsZero()
}

// elsewhere refuses to go to another host: the token is not for that, and its answers are not the forge's.
func elsewhere(next *http.Request, before []*http.Request) error {
	first := before[0]
	if next.URL.Host != first.URL.Host || len(before) >= mostTries {
		return &Error{Host: first.URL.Host, Method: first.Method, Path: first.URL.EscapedPath(), Status: next.Response.StatusCode, Message: "it sends to " + next.URL.Host}
	}
	return nil
}

// plain takes off what the clients and net/http put around an error of ours.
func plain(err error) error {
	if of, is := errors.AsType[*Error](err); is {
		return of
	}
	return err
}

// transport adds the token to what goes to the forge's host, asks again what a forge refuses for now, and makes an
// *Error of every answer that is none: the three clients have three ways for all of it.
type transport struct {
	base   http.RoundTripper
	to     *url.URL
	config Config
}

const (
	mostTries  = 6
	mostAnswer = 64 << 20
)

func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		body, err = io.ReadAll(request.Body)
		request.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		answer, err := t.base.RoundTrip(t.signed(request, body))
		if err == nil && strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") && answer.StatusCode < 300 {
			failed := t.failure(request, answer, nil)
			failed.Message = "a web page, not the answer of an API; is the address right?"
			return nil, failed
		}
		if err == nil && answer.StatusCode < 400 {
			answer.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(answer.Body, mostAnswer), answer.Body}
			return answer, nil
		}
		failed := t.failure(request, answer, err)
		wait, again := worthwhile(failed, answer, try)
		if !again || !sleep(request.Context(), wait) {
			return nil, failed
		}
		failed.Until = time.Time{}
	}
}

// signed is a copy of the request as it is sent: with the token, if it goes where the token is for.
func (t *transport) signed(request *http.Request, body []byte) *http.Request {
	r := request.Clone(request.Context())
	if request.Body != nil {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	r.Header.Set("User-Agent", t.config.Agent)
	r.Header.Del("Authorization")
	r.Header.Del("Private-Token")
	if r.URL.Host != t.to.Host || r.URL.Scheme != t.to.Scheme || t.config.Token == "" {
		return r
	}
	switch t.config.Kind {
	case GitHub:
		r.Header.Set("Authorization", "Bearer "+t.config.Token)
	case GitLab:
		r.Header.Set("Private-Token", t.config.Token)
	case Gitea:
		r.Header.Set("Authorization", "token "+t.config.Token)
	}
	return r
}

func (t *transport) failure(request *http.Request, answer *http.Response, err error) *Error {
	e := &Error{Host: request.URL.Host, Method: request.Method, Path: request.URL.EscapedPath(), Err: err}
	if answer == nil {
		return e
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	e.Status = answer.StatusCode
	var said struct{ Message, Error any }
	if json.Unmarshal(text, &said) == nil {
		for _, s := range []any{said.Message, said.Error} {
			if s != nil && e.Message == "" {
				e.Message = oneLine(fmt.Sprint(s))
			}
		}
	}
	if e.Message == "" {
		e.Message = http.StatusText(e.Status)
	}
	return e
}

// oneLine is what an error may have of what somebody else says.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

// worthwhile says whether to ask again, and after how long.
func worthwhile(e *Error, answer *http.Response, try int) (time.Duration, bool) {
	wait := time.Duration(float64(time.Second/2<<(try-1)) * (0.5 + rand.Float64()))
	wait = min(wait, 10*time.Second)
	// What changes nothing, or the same thing twice, may be done twice.
	twice := e.Method != http.MethodPost || strings.Contains(e.Path, "/statuses/")
	switch {
	case try >= mostTries:
		return 0, false
	case answer == nil:
		of, is := errors.AsType[*net.OpError](e.Err)
		return wait, twice || is && of.Op == "dial"
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusForbidden && (limited(answer.Header) || strings.Contains(e.Message, "rate limit")):
		if after := until(answer.Header); after > 0 {
			e.Until, wait = time.Now().Add(after), after
		}
		return wait, true
	}
	return wait, twice && e.Status >= 500 && e.Status != http.StatusNotImplemented
}

func limited(h http.Header) bool {
	return h.Get("Retry-After") != "" || h.Get("X-RateLimit-Remaining") == "0"
}

// until is after how long a forge wants to be asked again.
func until(h http.Header) time.Duration {
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		return time.Duration(s) * time.Second
	}
	for _, name := range []string{"X-RateLimit-Reset", "RateLimit-Reset"} {
		if s, err := strconv.ParseInt(h.Get(name), 10, 64); err == nil {
			return time.Until(time.Unix(s, 0)) + time.Second
		}
	}
	return 0
}

// sleep is false where the context would end before, or does.
func sleep(ctx context.Context, d time.Duration) bool {
	if end, is := ctx.Deadline(); is && time.Until(end) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
