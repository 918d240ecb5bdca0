package note

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

const hidden = "hunter2-S3cr3t/x"

func TestRedactorHides(t *testing.T) {
	t.Parallel()
	env := []string{"TF_VAR_db_password=" + hidden, "PATH=/bin"}
	for name, c := range map[string]struct {
		env  []string
		argv []string
		text string
	}{
		"-var name=value":          {nil, []string{"terraform", "apply", "-var", "password=" + hidden}, "bad: " + hidden},
		"-var=name=value":          {nil, []string{"terraform", "apply", "-var=password=" + hidden}, "bad: " + hidden},
		"--var":                    {nil, []string{"tofu", "apply", "--var", "x=" + hidden}, "bad: " + hidden},
		"-var with = in it":        {nil, []string{"tofu", "apply", "-var", "x=" + hidden + "=="}, "bad: " + hidden + "=="},
		"-backend-config":          {nil, []string{"terraform", "init", "-backend-config=secret_key=" + hidden}, "bad: " + hidden},
		"-backend-config apart":    {nil, []string{"terraform", "init", "-backend-config", "secret_key=" + hidden}, "bad: " + hidden},
		"--password":               {nil, []string{"x", "--password", hidden}, "bad: " + hidden},
		"--password with =":        {nil, []string{"x", "--password=a=" + hidden}, "bad: " + hidden},
		"in a shell's command":     {nil, []string{"sh", "-c", "TF_VAR_x=" + hidden + " terraform apply -var 'y=" + hidden + "'"}, ""},
		"TF_VAR_":                  {env, nil, `Error: invalid value "` + hidden + `" for db`},
		"TF_VAR_ in a URL":         {env, nil, "GET https://x/?p=hunter2-S3cr3t%2Fx failed"},
		"TF_VAR_ map":              {[]string{`TF_VAR_db={user="bob",password="` + hidden + `"}`}, nil, "login with " + hidden},
		"TF_VAR_ several lines":    {[]string{"TF_VAR_key=first line of it\n" + hidden + "\n"}, nil, "near " + hidden},
		"TF_VAR_ as a Go string":   {[]string{"TF_VAR_x=a\"" + hidden}, nil, `%q: "a\"` + hidden + `"`},
		"TOKEN in the environment": {[]string{"GITLAB_TOKEN=" + hidden}, nil, "with " + hidden},
		"what ends in _KEY":        {[]string{"ARM_KEY=" + hidden}, nil, "with " + hidden},
		"URL password":             {nil, nil, "dial postgres://bob:" + strings.ReplaceAll(hidden, "/", "") + "@db.example.com/x: refused"},
		"URL password with @":      {nil, nil, "dial postgres://bob:a@hunter2@db.example.com/x: refused"},
		"URL token":                {nil, nil, "https://hunter2AAAAAAAAAAAAAAAA@github.com/x"},
		"password = value":         {nil, nil, `password = "` + hidden + `"`},
		"yaml":                     {nil, nil, `db_password: ` + hidden},
		"json":                     {nil, nil, `{"client_secret":"` + hidden + `"}`},
		"AWS":                      {nil, nil, "aws_secret_access_key=" + hidden},
		"bearer":                   {nil, nil, "Authorization: Bearer hunter2Abcdefgh"},
		"basic":                    {nil, nil, "authorization: basic aHVudGVyMg=="},
		"private key":              {nil, nil, "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----"},
		"half a private key":       {nil, nil, "-----BEGIN PRIVATE KEY-----\nhunter2"},
	} {
		r := NewRedactor(c.env, c.argv)
		for _, got := range []string{r.Command(c.argv), r.Text(c.text, 500)} {
			if strings.Contains(got, "hunter2") || strings.Contains(got, "aHVudGVyMg") || strings.Contains(got, "S3cr3t") {
				t.Errorf("%s: %s", name, got)
			}
		}
		if c.text != "" && !strings.Contains(r.Text(c.text, 500), redacted) {
			t.Errorf("%s: nothing stands for the secret", name)
		}
	}
}

func TestRedactorKnowsTokens(t *testing.T) {
	t.Parallel()
	a := strings.Repeat("Ab1", 20)
	for _, token := range []string{"ghp_" + a[:36], "ghs_" + a[:36], "github_pat_11" + a, "glpat-" + a[:20], "xoxb-1234567890-" + a[:10], "AKIAIOSFODNN7EXAMPLE",
		"AIza" + a[:35], "ya29." + a, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "sk_live_" + a[:24], "sk-" + a[:40], "hvs." + a[:24],
		a[:14] + ".atlasv1." + a, "dop_v1_" + strings.Repeat("0f", 32), "npm_" + a[:36], "hooks.slack.com/services/T0/B0/" + a[:24]} {
		got := NewRedactor(nil).Text("Error: 401 from x ("+token+"), try again", 500)
		if got != "Error: 401 from x (***), try again" {
			t.Errorf("%s: %s", token, got)
		}
	}
}

func TestRedactorLeaves(t *testing.T) {
	t.Parallel()
	r := NewRedactor([]string{"TF_VAR_env=prod", "TF_VAR_n=3", "TF_VAR_on=true", "TF_VAR_x=", "GIT_AUTHOR_NAME=Terraform", "SSH_AUTH_SOCK=/tmp/x", "PATH=creating"})
	for _, text := range []string{
		"Error: creating DB instance (prod-3): timeout while waiting for state to become 'available'",
		"Error: Invalid count argument\n\n  on main.tf line 3, in resource",
		"basic authentication failed for bob", "Basic configuration", "bearer something", "3 tokens, 2 secrets and 1 password were rotated",
		"https://registry.terraform.io/v1/modules: 503", "see https://bob@example.com/x or mail bob@example.com",
		"git@github.com:acme/infra.git", "ssh://git@github.com:22/acme/infra.git", "module.vpc.aws_subnet.this[\"a\"]: Creating...",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "run 01KA2ZV7QJ5X0M3Y8N6P4R2T1S on 8a1f0b1c-2d3e-4f50-8a1f-0b1c2d3e4f50",
		"Terraform 1.11.4", "Error acquiring the state lock: ConditionalCheckFailedException", "task-12345678901234567890 is risk-free",
	} {
		if got := r.Text(text, 500); got != text {
			t.Errorf("mangled:\n got %s\nwant %s", got, text)
		}
	}
	for want, argv := range map[string][]string{
		"terraform apply -auto-approve -var-file=prod.tfvars":     {"terraform", "apply", "-auto-approve", "-var-file=prod.tfvars"},
		"terraform init -backend-config=prod.hcl":                 {"terraform", "init", "-backend-config=prod.hcl"},
		"terraform init -backend-config prod.hcl -backend=true":   {"terraform", "init", "-backend-config", "prod.hcl", "-backend=true"},
		"terraform init -backend-config=key=***":                  {"terraform", "init", "-backend-config=key=a/b"},
		"terraform apply -var region=*** -var=x=*** -no-color":    {"terraform", "apply", "-var", "region=eu", "-var=x=y", "-no-color"},
		"sh -c 'echo \"a b\" && x'":                               {"sh", "-c", `echo "a b" && x`},
		"x '' 'it'\\''s'":                                         {"x", "", "it's"},
		"terraform apply -var":                                    {"terraform", "apply", "-var"},
		"x --password=***":                                        {"x", "--password=abc"},
		"terraform apply -target=module.vpc.aws_subnet.this['a']": nil,
	} {
		if argv == nil {
			continue
		}
		if got := NewRedactor(nil, argv).Command(argv); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestRedactorShortens(t *testing.T) {
	t.Parallel()
	r := NewRedactor([]string{"A_TOKEN=" + hidden})
	for _, text := range []string{strings.Repeat("ü", 400), strings.Repeat("x", 490) + hidden, strings.Repeat(hidden, 100), strings.Repeat("a\xff", 300), strings.Repeat("日本", 5<<20/6)} {
		got := r.Text(text, 500)
		if len(got) > 500 || !utf8.ValidString(got) || strings.Contains(got, "hunter2") {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

// What the environment and the command line name as secret, in each of the forms
// in which it may be printed.
func TestRedactorLearns(t *testing.T) {
	t.Parallel()
	const odd = `hun"ter2'<x>&é/ y`
	for name, c := range map[string]struct {
		env, argv []string
		text      string
	}{
		"a variable before the command": {nil, []string{"env", "DB_PASSWORD=" + hidden, "terraform"}, hidden},
		"curl -u":                       {nil, []string{"curl", "-u", "admin:" + hidden, "https://x"}, hidden},
		"a header":                      {nil, []string{"curl", "-H", "X-Api-Key: " + hidden, "https://x"}, hidden},
		"a URL's in the command line":   {nil, []string{"psql", "postgres://u:" + hidden + "@db.example.com/x"}, hidden},
		"a URL's in the environment":    {[]string{"DATABASE_URL=postgres://u:" + hidden + "@db.example.com/x"}, nil, "psql: " + hidden},
		"words with blanks":             {nil, []string{"terraform", "apply", "-var", "x=hunter2 of S3cr3t"}, "bad: hunter2 of S3cr3t"},
		"what begins with a slash":      {[]string{"API_KEY=/hunter2ABCdef/012345+S3cr3t"}, nil, "bad: /hunter2ABCdef/012345+S3cr3t"},
		"random with a slash":           {[]string{"API_KEY=/hunter2ABCdef012/S3cr3t"}, nil, "bad: /hunter2ABCdef012/S3cr3t"},
		"in base64":                     {[]string{"X_TOKEN=hunter2-S3cr3t-x"}, nil, "data aHVudGVyMi1TM2NyM3QteA== end"},
		"in a URL":                      {[]string{"X_TOKEN=" + odd}, nil, "x=" + url.QueryEscape(odd)},
		"in JSON":                       {[]string{"X_TOKEN=" + odd}, nil, inJSON(odd)},
		"in a shell's quotes":           {[]string{"X_TOKEN=" + odd}, nil, quoted([]string{odd})},
	} {
		r := NewRedactor(c.env)
		r.LearnCommands(c.argv)
		for _, got := range []string{r.Command(c.argv), r.Hide(c.text), r.Hide(strings.Repeat("x ", shortText) + c.text)} {
			if strings.Contains(got, "hunter2") || strings.Contains(got, "S3cr3t") || strings.Contains(got, "aHVudGVyMi") || strings.Contains(got, "ter2") {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	for _, kv := range []string{"SSH_AUTH_SOCK=/tmp/ssh-XXAbC123456789/agent.1", "TOKEN_FILE=/home/bob/Tokens/abc123def", "TF_VAR_prefix=/prod/app", "HOME=/Users/Bob1/x"} {
		_, value, _ := strings.Cut(kv, "=")
		if got := NewRedactor([]string{kv}).Hide("no such file: " + value); !strings.Contains(got, value) {
			t.Errorf("%s: %s", kv, got)
		}
	}
}

func TestRedactorLearnsLater(t *testing.T) {
	t.Parallel()
	r := NewRedactor(nil)
	if got := r.Hide(hidden); got != hidden {
		t.Fatal(got)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			r.Learn([]string{"TF_VAR_shared=" + hidden})
			if got := r.Hide("x " + hidden); got != "x ***" {
				t.Error(got)
			}
		})
	}
	wait.Wait()
}

func TestJoinedCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"terraform apply -auto-approve":                {"terraform", "apply", "-auto-approve"},
		"terraform apply -var password=two words -x y": {"terraform", "apply", "-var", "password=two words", "-x", "y"},
		"terraform apply -var=password=two words -x":   {"terraform", "apply", "-var=password=two words", "-x"},
		"x --token two words --y z w":                  {"x", "--token", "two words", "--y", "z", "w"},
		"x -var":                                       {"x", "-var"},
		"":                                             nil,
	} {
		if got := JoinedCommand(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q", line, got)
		}
	}
}
