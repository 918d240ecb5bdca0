//go:build unix

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Where real Terraform writes to, in every way in which that is chosen, and the ways in
// which a deployment is run. Each row is done one after the other; of the last line it is
// asked what it ran ("" for nothing), and what is said.
func TestPlaces(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(err)
	}
	stock := stockTerramate(t)
	const (
		ask = `A='apply -auto-approve -input=false' TF="tmnotes run -- terraform apply -auto-approve -input=false" M='terraform apply -auto-approve -input=false'
tf() { "$REAL_TERRAFORM" -chdir=a "$@" >/dev/null; }
commit() { git add -A; git commit -qm "$1"; git push -q; }
backend() { printf 'terraform {\n  backend "local" {\n%s  }\n}\n' "$1" >a/backend.tf; commit backend; }
scripts() { { printf 'terramate {\n  config {\n    experiments = ["scripts"]\n  }\n}\n'
  for s; do printf 'script "%s" {\n  job {\n    commands = [\n' "${s%%:*}"; echo "${s#*:}" | tr ';' '\n' | sed 's/^ *//; s/ *$//; s/ /", "/g; s/.*/      ["&"],/'; printf '    ]\n  }\n}\n'; done; } >scripts.tm; commit scripts; }
clone() { tmnotes sync >/dev/null 2>&1; git clone -q "$(git remote get-url origin)" ../other; cd ../other; git config user.name A; git config user.email a@example.com; tmnotes fetch; }
log() { tmnotes show --format json 2>/dev/null | tr -d ' \n' || :; }
`
		init  = `tf init -input=false; `
		local = `backend ''; `
	)
	for _, c := range []struct {
		name, first, then string
		ran               string
		says              string // this, or not this, after "!"
	}{
		// A script is the command in it, and chooses its workspace.
		{"typed, then scripted", init + `$TF`, `scripts "up:terraform init -input=false; $M"; tmnotes run --pending -- $M; tmnotes script run --pending up`, "", "no stack is pending"},
		{"scripted, then typed", `scripts "up:terraform init -input=false; terraform validate; $M"; tmnotes script run up`, `$TF`, "", "up to date"},
		{"a script that selects, and another", init + `scripts "blue:terraform workspace select -or-create blue; $M" "green:terraform workspace select -or-create green; $M"; tmnotes script run blue`,
			`tmnotes script run green`, "/a", ""},
		{"both, and the first again", init + `scripts "blue:terraform workspace select -or-create blue; $M" "green:terraform workspace select -or-create green; $M"; tmnotes script run blue; tmnotes script run green`,
			`tmnotes script run blue`, "", "up to date"},
		{"a script that selects, then typed", init + `scripts "blue:terraform workspace select -or-create blue; $M"; tmnotes script run blue`, `$TF`, "", "up to date"},
		{"typed, then a script that selects", init + `$TF`, `scripts "blue:terraform workspace select -or-create blue; $M"; tmnotes script run blue`, "/a", ""},
		{"a script that selects afterwards", init + `scripts "x:$M; terraform workspace select -or-create blue"; tmnotes script run x`, `$TF`, "/a", ""},
		{"and back", init + `scripts "x:$M; terraform workspace select -or-create blue"; tmnotes script run x`, `tf workspace select default; $TF`, "", "up to date"},
		{"a script that chooses its backend", local + `scripts "one:terraform init -reconfigure -input=false -backend-config=path=one.tfstate; $M" "two:terraform init -reconfigure -input=false -backend-config=path=two.tfstate; $M"; tmnotes script run one`,
			`tmnotes script run two`, "/a", ""},
		{"both, and the first again, in a new clone", local + `scripts "one:terraform init -reconfigure -input=false -backend-config=path=one.tfstate; $M" "two:terraform init -reconfigure -input=false -backend-config=path=two.tfstate; $M"; tmnotes script run one; tmnotes script run two`,
			`clone; tmnotes script run one`, "", "up to date"},

		// A new clone does not know, until it does.
		{"a new clone", local + `tf init -input=false -backend-config=path=one.tfstate; $TF`, `clone; tmnotes run -- $M`, "", "the place of 1 stack is not known yet (no init here): assumed to be the recorded one"},
		{"a new clone, listed", local + `tf init -input=false -backend-config=path=one.tfstate; $TF`, `clone; tmnotes list --pending`, "", "the place of 1 stack is not known here"},
		{"a new clone of an older commit", local + init + `$TF; echo '# 1' >>a/main.tf; commit one; echo '# 2' >>a/main.tf; commit two; tf workspace new blue; $TF`,
			`clone; git checkout -q HEAD^; tmnotes run -X --op deploy -- sh -c '"$REAL_TERRAFORM" init -input=false && "$REAL_TERRAFORM" workspace select blue && deploy'`, "", "which may be its place (not known before init)"},
		{"a new clone of another backend", local + `tf init -input=false -backend-config=path=one.tfstate; $TF`, `clone; tf init -input=false -backend-config=path=two.tfstate; $TF`, "/a", "!not known"},
		{"a new clone of code that names another backend", `backend '    path = "one.tfstate"
'; ` + init + `$TF; backend '    path = "two.tfstate"
'`, `clone; tmnotes run --pending --dry-run -- $M`, "", "never deployed"},
		{"found out when it starts", local + `tf init -input=false -backend-config=path=one.tfstate; $TF; printf 'stack {\n  id = "z"\n  before = ["/a"]\n}\n' | { mkdir z; cat >z/stack.tm; }; echo z >z/init; commit z; tmnotes mark --reason z /a`,
			`clone; tmnotes run --force --op deploy -- sh -c 'case $PWD in */z) cd ../a && "$REAL_TERRAFORM" init -input=false -backend-config=path=two.tfstate ;; *) deploy ;; esac' && tmnotes status`, "/a", "!not known here"},
		{"found done when it starts", init + `tf workspace new blue; mkdir -p z/x; printf 'stack {\n  id = "z"\n  before = ["/a"]\n}\n' >z/stack.tm; touch z/x/y; commit z; tmnotes run --op deploy -- sh -c 'if test -d x; then "$REAL_TERRAFORM" -chdir=../a workspace select blue; else deploy; fi'`,
			`tf workspace select default; tmnotes run --op deploy -- sh -c 'if test -d x; then "$REAL_TERRAFORM" -chdir=../a workspace select blue; else deploy; fi'`, "", "1 ok, 1 skipped"},

		// Nobody is taken for another one.
		{"somebody else selects while it runs", init + `tf workspace new blue; tf workspace select default; tmnotes run --op deploy -- sh -c 'deploy; "$REAL_TERRAFORM" workspace select blue'`, `tf workspace select default; tmnotes run --op deploy -- sh -c 'deploy; "$REAL_TERRAFORM" workspace select blue'`, "/a", ""},
		{"a values file that is written while it runs", `echo '*.auto.tfvars' >>.gitignore; commit ignore; ` + init + `tmnotes run --op deploy -- sh -c 'deploy; echo "v = 1" >x.auto.tfvars'`, `tmnotes run --op deploy -- sh -c 'deploy; echo "v = 1" >x.auto.tfvars'`, "/a", ""},
		{"ignored values that are new, listed", `echo '*.auto.tfvars' >>.gitignore; commit ignore; ` + init + `$TF; echo 'v = "1"' >a/x.auto.tfvars`, `tmnotes list --pending --why`, "", "deployed without x.auto.tfvars, which git ignores"},
		{"a destroy elsewhere", init + `$TF; tf workspace new blue; tmnotes run -- terraform destroy -auto-approve -input=false`, `tf workspace select default; $TF`, "", "up to date"},
		{"a data directory that is broken", local + init + `echo x >a/.terraform/terraform.tfstate`, `tmnotes status; ! $TF; ! tmnotes run -- terraform init -input=false`, "", "remove the file and run terraform init"},
		{"status by the workspace", init + `tf workspace new blue; $TF`, `tmnotes status`, "", "ok"},
		{"a saved plan with other variables", init + `"$REAL_TERRAFORM" -chdir=a plan -out=p -var=v=1 >/dev/null; tmnotes run -X --op deploy -- terraform apply p`,
			`"$REAL_TERRAFORM" -chdir=a plan -out=p -var=v=2 >/dev/null; tmnotes run -X --op deploy -- terraform apply p`, "/a", ""},

		// One deployment, whatever the way in.
		{"run, then exec", init + `TF_VAR_v=1 $TF`, `cd a; TF_VAR_v=1 tmnotes exec -- $M`, "", "nothing to do"},
		{"exec with other values", init + `TF_VAR_v=1 $TF`, `cd a; TF_VAR_v=2 tmnotes exec -- $M`, "/a", ""},
		{"run.env, then terramate's", `printf 'terramate {\n  config {\n    run {\n      env {\n        TF_VAR_v = "1"\n        STAGE = "x"\n      }\n    }\n  }\n}\n' >env.tm; commit env; ` + init + `$TF`,
			`terramate run -X -- tmnotes exec -- $M`, "", "nothing to do"},
		{"terramate's, then run", init + `git remote set-url origin "ssh://git.example$(git remote get-url origin)"; TF_VAR_v=1 tmnotes cloud -- terramate run -X --sync-deployment -- $M`, `TF_VAR_v=1 $TF`, "", "up to date"},
		{"terramate's in a workspace, then run in another", init + `git remote set-url origin "ssh://git.example$(git remote get-url origin)"; tf workspace new blue; tmnotes cloud -- terramate run -X --sync-deployment -- $M`, `tf workspace select default; $TF`, "/a", ""},
		{"legs, which init themselves", local + `git tag -a x -m x; tmnotes matrix --jobs 1 --out ../legs -- $M`, `tmnotes run --stacks-from ../legs/leg-1.json -- terraform init -input=false -backend-config=path=one.tfstate; tmnotes run --stacks-from ../legs/leg-1.json -- $M; tmnotes run -- $M`, "/a", "up to date"},
		{"legs of a workspace that is selected later", init + `tmnotes matrix --jobs 1 --out ../legs -- $M; tf workspace new blue; tmnotes run --stacks-from ../legs/leg-1.json -- $M`, `TF_WORKSPACE=default tmnotes status`, "", "never"},

		// What cannot run is no run.
		{"no such program", `:`, `cd a; ! tmnotes exec -- no-such-program; tmnotes show || :`, "", "command not found: no-such-program"},
		{"the wrapper of a setup action", `mkdir ../wrap; printf '#!/bin/sh\n' >../wrap/terraform; cp ../wrap/terraform ../wrap/terraform-bin; chmod +x ../wrap/*; PATH=$PWD/../wrap:$PATH`,
			`PATH=$PWD/../wrap:$PATH; ! tmnotes run --op drift -- terraform plan -detailed-exitcode`, "", "terraform_wrapper: false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.makeProject("work", true, "/a")
			w.script("terraform", `case " $* " in *" apply "*) echo "/${PWD#"$WORK"/*/}" >>"$WORK/ran" ;; esac
exec "$REAL_TERRAFORM" "$@"
`)
			if strings.Contains(c.first+c.then, "terramate run") {
				if err := os.Symlink(stock, w.path("bin", "terramate")); err != nil {
					t.Fatal(err)
				}
			}
			sh := func(what, script string) string {
				cmd := w.command("work", "sh", "-euc", ask+script)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Run(); err != nil {
					t.Fatalf("%s: %v\n%s", what, err, &out)
				}
				return out.String()
			}
			before := sh("first", `printf 'variable "v" {\n  default = ""\n}\n' >a/v.tf; printf 'p\n' >>.gitignore; commit variable; `+c.first)
			w.ran()
			out := sh("then", c.then)
			unwanted, not := strings.CutPrefix(c.says, "!")
			if got := strings.Join(w.ran(), " "); got != c.ran || not && strings.Contains(out, unwanted) || !not && !strings.Contains(out, c.says) {
				t.Errorf("it ran %q, and says\n%s\nwant %q, %q; before\n%s", got, out, c.ran, c.says, before)
			}
		})
	}
}
