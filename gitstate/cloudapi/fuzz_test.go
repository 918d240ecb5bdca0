package cloudapi_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/cloudapi"
	"github.com/tmnotes/tmnotes/gitstate/gittest"
)

// What is sent wrongly is refused with 4xx, and no note is the worse for it.
func FuzzBodies(f *testing.F) {
	r := gittest.New(f)
	head := r.Head()
	st := `{"repository":"` + repo + `","default_branch":"main","path":"/a","meta_id":"id-a","commit_sha":"` + head + `","deployment_cmd":"x"}`
	deploy := "/v1/deployments/" + string(org) + "/7c1d2f0e-5a4b-5c3d-9e8f-746d6e6f7460/stacks"
	for _, seed := range []struct{ method, path, body string }{
		{"POST", deploy, `{"workdir":"/","stacks":[` + st + `]}`}, {"POST", deploy, `{"workdir":"/","stacks":null}`}, {"POST", deploy, `{"workdir":"x"}`},
		{"PATCH", deploy, `{"stacks":[{"stack_id":1,"status":"ok"}]}`}, {"PATCH", deploy, `[]`},
		{"POST", "/v1/stacks/" + string(org) + "/1/deployments/7c1d2f0e-5a4b-5c3d-9e8f-746d6e6f7460/logs", `[{"log_line":1,"timestamp":"2024-01-01T00:00:00Z","channel":"stdout","message":"x"}]`},
		{"POST", "/v2/drifts/" + string(org), `{"stack":` + st + `,"metadata":{"git_commit_sha":"` + head + `"},"command":["x"]}`},
		{"PATCH", "/v2/drifts/" + string(org) + "/01KA2Z00000000000000000000-1", `{"status":"ok","updated_at":"2024-01-01T00:00:00Z"}`},
		{"POST", "/v2/drifts/" + string(org) + "/x/logs", `[null]`},
		{"POST", "/v1/previews/" + string(org), `{"commit_sha":"` + head + `","pushed_at":1,"technology":"t","technology_layer":"l","review_request":{"repository":"r"},"stacks":[` + strings.Replace(st, "{", `{"preview_status":"pending",`, 1) + `]}`},
		{"PATCH", "/v1/stack_previews/" + string(org) + "/01KA2Z00000000000000000000-1", `{"status":"changed"}`},
		{"POST", "/v1/stack_previews/" + string(org) + "/01KA2Z00000000000000000000-1/logs", `{}`},
	} {
		f.Add(seed.method, seed.path, []byte(seed.body))
		f.Add(seed.method, seed.path, []byte(`{`))
		f.Add(seed.method, seed.path, []byte(strings.ReplaceAll(seed.body, "/a", `/\u0000\u001b[2J\n`)))
		f.Add(seed.method, seed.path, []byte(strings.ReplaceAll(seed.body, "id-a", `\ud800 \" \u202e`)))
	}
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		if method != "POST" && method != "PATCH" || !strings.HasPrefix(path, "/v") || strings.ContainsAny(path, " ?#%\x00\r\n") {
			t.Skip()
		}
		for _, state := range []string{"tmnotes", "refs/notes"} {
			if err := os.RemoveAll(filepath.Join(r.Dir, ".git", state)); err != nil {
				t.Fatal(err)
			}
		}
		store, err := gitstate.Open(t.Context(), gitstate.Options{Dir: r.Dir})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		api := cloudapi.New(store, store.Writer("R"), cloudapi.Options{Token: token, Repository: repo, By: "Alice"})
		req, err := http.NewRequest(method, "http://server"+path, strings.NewReader(string(body)))
		if err != nil {
			t.Skip()
		}
		req.SetBasicAuth(token, "")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Errorf("%s %s: %d: %s", method, path, w.Code, w.Body)
		}
		if _, err := api.Settle("the end"); err != nil {
			t.Error(err)
		}
		lines, err := store.Note(head)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if l.Err != nil {
				t.Errorf("a broken line: %q: %v", l.Text, l.Err)
			}
		}
	})
}
