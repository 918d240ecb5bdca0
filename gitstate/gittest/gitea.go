package gittest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Gitea is a real one, on this machine, with an administrator.
type Gitea struct {
	URL string // without a / at the end

	dir    string
	server *exec.Cmd
	ended  chan error
	users  atomic.Int64
}

// gitea is the one of all tests of a process: it starts with the first of them, and ends with the last.
var gitea struct {
	sync.Mutex
	tests int
	at    *Gitea
}

const adminName, adminPassword = "root-of-all", "a password for tests"

// giteaProgram is the one that scripts/test built; its templates are beside it.
func giteaProgram() string {
	if path := os.Getenv("TMNOTES_TEST_GITEA"); path != "none" {
		return path
	}
	return ""
}

// HasGitea reports whether there is one to start.
func HasGitea() bool { return giteaProgram() != "" }

// StartGitea starts Gitea for a test, which is skipped where there is none: TMNOTES_TEST_GITEA names it, and
// scripts/test --all, which builds it, does not skip.
func StartGitea(tb testing.TB) *Gitea {
	tb.Helper()
	if !HasGitea() {
		tb.Skip("it needs Gitea, which scripts/test --all builds (TMNOTES_TEST_GITEA)")
	}
	gitea.Lock()
	defer gitea.Unlock()
	if gitea.tests == 0 {
		g, err := startGitea()
		if err != nil {
			tb.Fatal(err)
		}
		gitea.at = g
	}
	gitea.tests++
	tb.Cleanup(func() {
		gitea.Lock()
		defer gitea.Unlock()
		if gitea.tests--; gitea.tests == 0 {
			gitea.at.stop()
		}
	})
	return gitea.at
}

const giteaConfig = `I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
RUN_USER = %[3]s
RUN_MODE = prod
WORK_PATH = %[1]s
[security]
INSTALL_LOCK = true
SECRET_KEY = for-tests
INTERNAL_TOKEN = for-tests
[oauth2]
ENABLED = false
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
SQLITE_JOURNAL_MODE = MEMORY
[repository]
ROOT = %[1]s/repositories
[server]
STATIC_ROOT_PATH = %[4]s
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[2]d
ROOT_URL = http://127.0.0.1:%[2]d/
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
[log]
MODE = console
LEVEL = error
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = false
[cron]
ENABLED = false
`

func startGitea() (g *Gitea, err error) {
	dir, err := os.MkdirTemp("", "gittest-gitea-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	program := giteaProgram()
	config := filepath.Join(dir, "app.ini")
	if err := os.WriteFile(config, fmt.Appendf(nil, giteaConfig, dir, port, me.Username, filepath.Join(filepath.Dir(program), "static")), 0o600); err != nil {
		return nil, err
	}
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, append([]string{"--config", config}, args...)...)
		// It writes git's global configuration. That must be a file of its own: over /dev/null, as Env has it, git renames
		// a new file, which succeeds for root and leaves the machine without that device.
		cmd.Env = append(Env(dir), "GITEA_WORK_DIR="+dir, "GIT_CONFIG_GLOBAL="+filepath.Join(dir, "gitconfig"))
		return cmd
	}
	g = &Gitea{URL: fmt.Sprintf("http://127.0.0.1:%d", port), dir: dir, server: run("web"), ended: make(chan error, 1)}
	var said bytes.Buffer
	g.server.Stdout, g.server.Stderr = &said, &said
	if err := g.server.Start(); err != nil {
		return nil, err
	}
	go func() { g.ended <- g.server.Wait() }()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if answer, err := http.Get(g.URL + "/api/healthz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case err := <-g.ended:
			return nil, fmt.Errorf("gitea ended: %v: %s", err, said.String())
		default:
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("gitea does not answer: %s", said.String())
		}
	}
	if out, err := run("admin", "user", "create", "--admin", "--username", adminName, "--password", adminPassword, "--email", "root@example.com", "--must-change-password=false").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gitea admin user create: %w: %s", err, out)
	}
	return g, nil
}

func (g *Gitea) stop() {
	_ = g.server.Process.Kill()
	<-g.ended
	for end := time.Now().Add(10 * time.Second); os.RemoveAll(g.dir) != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		// A git that it started may still write.
	}
}

// Call calls the API: as an administrator where token is "", else with that. out may be nil.
func (g *Gitea) Call(method, path, token string, body, out any) error {
	authorization := "token " + token
	if token == "" {
		authorization = basic(adminName)
	}
	return g.call(method, path, authorization, body, out)
}

func basic(name string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+adminPassword))
}

func (g *Gitea) call(method, path, authorization string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, g.URL+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, said)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(said, out)
}

// User makes somebody new, whose name begins as it says, with a token for everything, or for what is named.
func (g *Gitea) User(prefix string, scopes ...string) (name, token string, err error) {
	name = fmt.Sprintf("%s%d", prefix, g.users.Add(1))
	err = g.Call("POST", "/admin/users", "", map[string]any{"username": name, "password": adminPassword, "email": name + "@example.com", "must_change_password": false}, nil)
	if err != nil {
		return "", "", err
	}
	if scopes == nil {
		scopes = []string{"all"}
	}
	var made struct{ SHA1 string }
	err = g.call("POST", "/users/"+name+"/tokens", basic(name), map[string]any{"name": "test", "scopes": scopes}, &made)
	return name, made.SHA1, err
}

// Repository makes one for a user, and returns its address with the token.
func (g *Gitea) Repository(owner, name, token string) (address string, err error) {
	err = g.Call("POST", "/user/repos", token, map[string]any{"name": name, "default_branch": "main"}, nil)
	return strings.Replace(g.URL, "://", "://"+owner+":"+token+"@", 1) + "/" + owner + "/" + name + ".git", err
}
