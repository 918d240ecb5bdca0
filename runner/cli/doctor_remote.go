package cli

import (
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tmnotes/tmnotes/gitstate"
	"github.com/tmnotes/tmnotes/gitstate/note"
	"github.com/tmnotes/tmnotes/runner"
	"github.com/tmnotes/tmnotes/runner/deploy"
)

// What the doctor looks at of the remote, and of what git does with it.

func (d *doctor) findRemote() {
	projects := ""
	if d.p != nil {
		projects = d.p.DefaultRemote()
	}
	remote, err := findRemote(d.c, d.s, projects)
	switch {
	case err != nil:
		d.problem("", "%v", err)
	case settings.sync.text(d.c, d.s) == "off":
		d.warn("", "--sync=off: the records stay in this clone")
	case remote == "" && d.ci.Name != "":
		d.problem("git remote add origin URL", "no remote: the records disappear with the job's clone")
	case remote == "":
		d.warn("git remote add origin URL", "no remote: the records stay in this clone")
	default:
		d.remote, d.code = remote, syncSetting(d.c, d.s).Code(d.s, projects)
		where, err := d.s.Remote(remote).URL(d.c.Context)
		if err != nil {
			d.problem("git remote set-url "+remote+" URL", "%s has no URL: %v", remote, err)
			d.remote = ""
			return
		}
		d.ok("%s is %s", remote, note.NewRedactor(d.env.Environ).Text(where, 300))
		if d.code != d.remote {
			d.ok("the records are on %s, and the code is on %s", d.remote, d.code)
		}
		if to, besides, err := d.s.Remote(remote).PushURLs(d.c.Context); err == nil && len(besides) > 0 {
			d.ok("of its push URLs the notes go to %s alone", note.NewRedactor(d.env.Environ).Text(to, 300))
		}
		if n, _, err := d.s.Remote(remote).Unpushed(d.c.Context); err != nil {
			d.problem("tmnotes check", "%v", err)
		} else if n > 0 {
			d.warn("tmnotes sync", "not seen on %s yet: %s", remote, runner.Plural(n, "record"))
		}
	}
}

// isLocalPath tells a remote on this machine from git@host:path. C:/path is one on Windows alone (git's url_is_local_not_ssh).
func isLocalPath(where, system string) bool {
	if rest, is := strings.CutPrefix(where, "file://"); is {
		return rest != ""
	}
	host, _, found := strings.Cut(where, ":")
	return !found || strings.Contains(host, "/") || system == "windows" && (len(host) == 1 || strings.Contains(host, `\`))
}

// credential says which one git would show the remote, as far as that can be seen.
func (d *doctor) credential() {
	where, err := d.s.Remote(d.remote).URL(d.c.Context)
	if err != nil {
		return // said before
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		switch {
		case isLocalPath(where, runtime.GOOS):
			d.ok("none is needed for a local path")
		case d.getenv("SSH_AUTH_SOCK") != "":
			d.ok("SSH, with the keys of the agent")
		default:
			d.ok("SSH, with the keys of this user")
		}
		return
	}
	if _, has := u.User.Password(); has {
		if d.ci.Name == "gitlab" {
			d.ok("a token in the URL, as GitLab's runner writes it; the clone must not outlive the job")
			return
		}
		d.warn("a credential helper, SSH, or http.extraheader keeps it out of .git/config and of `git remote -v`", "a password or token stands in the URL of %s", d.remote)
		return
	}
	if d.configured("http", where, "extraheader") {
		d.ok("http.extraheader, as actions/checkout leaves it")
		return
	}
	if d.configured("credential", where, "helper") || d.getenv("GIT_ASKPASS") != "" || d.getenv("SSH_ASKPASS") != "" {
		d.ok("a credential helper")
		return
	}
	do := "git config credential.helper, or a token in http.extraheader"
	if d.ci.Name == "github" && d.remote == d.code {
		do = "leave persist-credentials of actions/checkout as it is"
	}
	d.warn(do, "none is configured for %s: where it asks for one, a push fails", u.Scheme+"://"+u.Host)
}

// configured reports whether git's configuration has a key for a URL.
func (d *doctor) configured(section, where, key string) bool {
	cmd := exec.CommandContext(d.c.Context, "git", "config", "--get-urlmatch", section+"."+key, where)
	cmd.Dir = d.dir
	out, err := cmd.Output()
	return err == nil && len(strings.TrimSpace(string(out))) > 0
}

func (d *doctor) fetch() {
	v, err := d.s.Remote(d.remote).Ask(d.c.Context)
	if err != nil {
		d.problem(d.remedy(err), "%v", err)
		return
	}
	d.asked, d.view, d.there = true, v, v
	notes := "it has the notes"
	if v.Notes == "" {
		notes = "it has no notes yet"
	}
	if v.Spools > 0 {
		notes += fmt.Sprintf(", and %s waiting on separate refs for a sync with permission to push", runner.Plural(v.Spools, "clone's records"))
	}
	d.ok("%s answers; %s", d.remote, notes)
	if d.code == d.remote {
		return
	}
	if d.there, err = d.s.Remote(d.code).Ask(d.c.Context); err != nil {
		d.warn(deploy.Remedy(err, d.code, d.s.Ref(), d.ci), "%v; commit times decide whether a commit that is not in this clone is newer", err)
	} else if d.there.Notes != "" {
		d.warn(fmt.Sprintf("tmnotes fetch --remote %s && tmnotes sync --remote %s && git push %s :%s moves them", d.code, d.remote, d.code, d.s.Ref()),
			"%s has %s, too: who does not know of %s goes by those", d.code, d.s.Ref(), d.remote)
	}
}

func (d *doctor) push() {
	try, err := d.s.Remote(d.remote).TryPush(d.c.Context, d.view.Notes)
	if errors.Is(err, gitstate.ErrSign) {
		return // said before
	}
	if err != nil {
		d.problem("", "a test push to %s failed: %v", d.remote, err)
		return
	}
	do := ""
	if err := try.Notes; err != nil {
		do = d.remedy(err)
		if cause := gitstate.CauseOf(err); d.remote == d.code && (cause == gitstate.Denied || cause == gitstate.Rejected) {
			do += "; or, with the records in a repository of their own: git remote add ledger URL && git config tmnotes.remote ledger; see tmnotes help trust"
		}
	}
	switch err := try.Notes; {
	case err == nil:
		d.ok("you can push %s to %s (a test push passed its hooks; nothing was changed)", d.s.Ref(), d.remote)
	case gitstate.Untested(err):
		d.warn("", "could not find out whether %s accepts a push: %v", d.remote, err)
	case try.Spool:
		d.warn(do, "%v; the records would wait on a separate ref until somebody with permission syncs", err)
	default:
		d.problem(do, "%v", err)
	}
	claims, err := parseClaims(d.c, d.s)
	if err == nil && !claims.Off && try.Claims != nil && (try.Notes == nil || try.Spool || gitstate.Untested(try.Notes)) {
		do := deploy.Remedy(try.Claims, d.remote, d.s.Ref(), d.ci)
		if do != "" {
			do += "; or "
		}
		d.problem(do+"--locks=off", "stacks cannot be locked: %v", try.Claims)
	}
	if err == nil && !claims.Off && try.Delete != nil {
		d.warn("allow the deploying user to delete "+d.s.Ref()+"-claims/*", "old locks cannot be deleted, and stay there marked as released: %v", try.Delete)
	}
}

// remedy is what a deployment would say.
func (d *doctor) remedy(err error) string {
	if do := deploy.Remedy(err, d.remote, d.s.Ref(), d.ci); do != "" {
		return do
	}
	return "git ls-remote " + d.remote + " and git push have to work"
}

func (d *doctor) clock() {
	head, err := d.s.Resolve("HEAD")
	ahead := time.Duration(0)
	if err == nil {
		ahead = head.Time.Sub(d.now())
	}
	const do = "set the clock, by NTP"
	switch {
	case d.view.Timed && d.view.Ahead > maxSkew:
		d.problem(do, "this machine's clock is %s ahead of that of %s: others do not follow the times of its records", runner.Took(d.view.Ahead), d.remote)
	case d.view.Timed && d.view.Ahead < -maxSkew:
		d.problem(do, "this machine's clock is %s behind that of %s: it takes the records of others for ones from the future", runner.Took(-d.view.Ahead), d.remote)
	case ahead > maxSkew:
		d.warn(do, "HEAD was committed %s in the future: this clock is behind, or that one was ahead", runner.Took(ahead))
	case d.view.Timed:
		d.ok("as that of %s, and not behind HEAD", d.remote)
	default:
		d.ok("not behind HEAD")
	}
}

// refspecs looks for what would overwrite the notes, or hide them.
func (d *doctor) refspecs() {
	for _, remote := range slices.Compact([]string{d.remote, d.code}) {
		specs, err := d.s.GitConfig(d.c.Context, "remote."+remote+".fetch")
		if err != nil {
			d.problem("", "%v", err)
			return
		}
		for _, spec := range specs {
			_, to, _ := strings.Cut(spec, ":")
			prefix, _, glob := strings.Cut(to, "*")
			if to == d.s.Ref() || glob && strings.HasPrefix(d.s.Ref(), prefix) {
				d.problem(fmt.Sprintf("git config --fixed-value --unset-all remote.%s.fetch '%s'; tmnotes setup brings the notes safely", remote, spec),
					"`git fetch %s` overwrites notes that were not pushed yet: %s", remote, spec)
				return
			}
		}
	}
	shown, err := d.s.GitConfig(d.c.Context, "notes.displayRef")
	switch {
	case err != nil:
		d.problem("", "%v", err)
	case len(shown) == 0 && d.ci.Name == "":
		d.ok("git log --notes=%s shows the records; tmnotes setup makes plain git log do so", strings.TrimPrefix(d.s.Ref(), "refs/notes/"))
	default:
		d.ok("git fetch leaves the notes alone")
	}
}

// changes is about what --changed compares with.
func (d *doctor) changes() {
	remote, branch := d.p.DefaultRemote(), d.p.DefaultBranch()
	const do = "terramate.config.git in terramate.tm.hcl says which it is"
	switch {
	case !slices.Contains(d.s.Remotes(), remote):
		d.warn(do, "the project's default_remote %s is not a remote here: --changed fails", remote)
	case d.there.Branch != "" && d.there.Branch != branch:
		d.warn(do, "the default branch of %s is %s, the project's is %s: --changed compares with the latter", remote, d.there.Branch, branch)
	default:
		if _, err := d.s.Resolve("refs/remotes/" + remote + "/" + branch); err != nil {
			d.warn("git fetch "+remote+" "+branch+":refs/remotes/"+remote+"/"+branch, "%s/%s is not here: --changed fails", remote, branch)
			return
		}
		d.ok("--changed compares with %s/%s", remote, branch)
	}
}

// signing makes a signature, where notes are signed.
func (d *doctor) signing() {
	with, err := d.s.SignsWith(d.c.Context)
	if err == nil {
		err = d.s.TrySign(d.c.Context)
	}
	if err != nil {
		d.problem("", "%v", err)
	} else if with != "" {
		d.ok("notes are signed with %s", with)
	}
	if !d.s.SignsRecords() {
		return
	}
	switch key, principal, err := d.s.SignsAs(d.c.Context); {
	case err != nil:
		d.problem("see tmnotes help trust", "%v", err)
	case principal != "":
		d.ok("records are signed by %s, with the key %s", principal, key)
	default:
		d.ok("records are signed with the key %s", key)
	}
}
