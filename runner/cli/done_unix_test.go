//go:build unix

package cli

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// What a deployment is: where it goes, with which values, from which files, of which
// commit, by whose word. Each row deploys /a, changes one thing, and deploys again: what
// differs is never skipped, and what cannot matter is. D is a deployment that is any
// program, P one with --pending, TF the real Terraform.
func TestDoneMeansDeployed(t *testing.T) {
	t.Parallel()
	const (
		ask   = `D='tmnotes run --op deploy -- deploy' P='tmnotes run --pending --op deploy -- deploy' TF='tmnotes run -- terraform apply -auto-approve -input=false'; tf() { "$REAL_TERRAFORM" -chdir=a "$@" >/dev/null; }; commit() { git add -A; git commit -qm "$1"; git push -q; }; `
		init  = `tf init -input=false; `
		local = `printf 'terraform {\n  backend "local" {}\n}\n' >a/backend.tf; commit backend; `
	)
	for _, c := range []struct {
		name, first, then string
		runs              bool
		says              string
	}{
		// Nothing differs.
		{"nothing", `$D`, `$D`, false, "up to date"},
		{"nothing, pending", `$D`, `$P`, false, "no stack is pending"},
		{"nothing, terraform", init + `$TF`, `$TF -no-color -parallelism=3`, false, "up to date"},

		// The place.
		{"target", `$D`, `tmnotes run --target eu --op deploy -- deploy`, true, ""},
		{"TF_WORKSPACE", `$D`, `TF_WORKSPACE=blue $D`, true, ""},
		{"workspace select", init + `$TF`, `tf workspace select -or-create blue; $TF`, true, ""},
		{"and back", init + `$TF; tf workspace select -or-create blue; $TF`, `tf workspace select default; $TF`, false, "up to date"},
		{"chosen in one way or the other", init + `tf workspace new blue; tf workspace select default; TF_WORKSPACE=blue $TF`, `tf workspace select blue; $TF`, false, "up to date"},
		{"TF_DATA_DIR", `echo .other >>.gitignore; commit ignore; ` + init + `$TF`, `export TF_DATA_DIR=.other; tf init -input=false; tf workspace select -or-create blue; $TF`, true, ""},
		{"-chdir", `mkdir a/sub; cp a/main.tf a/sub; commit sub; "$REAL_TERRAFORM" -chdir=a/sub init >/dev/null; tmnotes run -- terraform -chdir=sub apply -auto-approve -input=false`,
			`"$REAL_TERRAFORM" -chdir=a/sub workspace new blue >/dev/null; tmnotes run -- terraform -chdir=sub apply -auto-approve -input=false`, true, ""},
		{"backend", local + `tf init -input=false -backend-config=path=one.tfstate; $TF`, `tf init -input=false -reconfigure -backend-config=path=two.tfstate; $TF`, true, ""},
		{"backend, and back", local + `tf init -input=false -backend-config=path=one.tfstate; $TF; tf init -reconfigure -input=false -backend-config=path=two.tfstate; $TF`,
			`tf init -input=false -reconfigure -backend-config=path=one.tfstate; $TF`, false, "up to date"},
		{"backend, pending", local + `tf init -input=false -backend-config=path=one.tfstate; $TF`,
			`tf init -input=false -reconfigure -backend-config=path=two.tfstate; tmnotes run --pending -- terraform apply -auto-approve -input=false`, true, ""},
		{"not initialised", init + `$TF`, `rm -rf a/.terraform; tmnotes run --pending -- terraform apply -auto-approve -input=false`, false, "no stack is pending"},

		// The values.
		{"TF_VAR", `TF_VAR_v=1 $D`, `TF_VAR_v=2 $D`, true, ""},
		{"the same TF_VAR", `TF_VAR_v=1 $D`, `TF_VAR_v=1 $D`, false, "up to date"},
		{"TF_VAR, pending", `TF_VAR_v=1 $D`, `TF_VAR_v=2 $P`, true, "another TF_VAR_v"},
		{"TF_VAR that looks secret", `TF_VAR_db_password=1 $D`, `TF_VAR_db_password=2 $D`, false, "up to date"},
		{"account", `AWS_PROFILE=dev $D`, `AWS_PROFILE=prod $P`, true, "another AWS_PROFILE"},
		{"region", `AWS_REGION=eu-west-1 $D`, `AWS_REGION=eu-west-2 $D`, true, ""},
		{"any variable", `EDITOR=vi $D`, `EDITOR=ed $D`, false, "up to date"},
		{"TF_CLI_ARGS", `$D`, `TF_CLI_ARGS_apply=-var=x=y $D`, true, ""},
		{"-var", init + `$TF -var v=1`, `$TF -var v=2`, true, ""},
		{"-var that looks secret", init + `$TF -var password=1`, `$TF -var password=2`, false, "up to date"},
		{"-var-file outside of the project", init + `echo 'v = "1"' >$WORK/x.tfvars; $TF -var-file=$WORK/x.tfvars`, `echo 'v = "2"' >$WORK/x.tfvars; $TF -var-file=$WORK/x.tfvars`, true, ""},
		{"-var-file in TF_CLI_ARGS", init + `export TF_CLI_ARGS_apply=-var-file=$WORK/x.tfvars; echo 'v = "1"' >$WORK/x.tfvars; $TF`,
			`export TF_CLI_ARGS_apply=-var-file=$WORK/x.tfvars; echo 'v = "2"' >$WORK/x.tfvars; $TF`, true, ""},
		{"-var-file beside the stack, listed", `mkdir env; echo 'v = "1"' >env/x.tfvars; commit env; ` + init + `$TF -var-file=../env/x.tfvars`,
			`echo 'v = "2"' >env/x.tfvars; commit v2; tmnotes list --pending --why >&2; $TF -var-file=../env/x.tfvars`, true, "another -var-file ../env/x.tfvars"},
		{"tfvars that git ignores", `echo '*.auto.tfvars' >>.gitignore; commit ignore; ` + init + `echo 'v = "1"' >a/x.auto.tfvars; $TF`, `echo 'v = "2"' >a/x.auto.tfvars; $TF`, true, ""},

		// The files.
		{"uncommitted", `echo '# mine' >>a/main.tf; tmnotes run -X --op deploy -- deploy`, `git checkout -q a; $D`, true, ""},
		{"skip-worktree", `git update-index --skip-worktree a/main.tf; echo '# mine' >>a/main.tf; $D`, `git update-index --no-skip-worktree a/main.tf; git checkout -q a; $D`, true, ""},
		{"assume-unchanged", `git update-index --assume-unchanged a/main.tf; echo '# mine' >>a/main.tf; $D`, `git update-index --no-assume-unchanged a/main.tf; git checkout -q a; $D`, true, ""},
		{"code that git ignores", `echo made.tf >>.gitignore; commit ignore; echo '# 1' >a/made.tf; $D`, `echo '# 2' >a/made.tf; $P`, true, ""},
		{"and is gone", `echo made.tf >>.gitignore; commit ignore; echo '# 1' >a/made.tf; $D`, `rm a/made.tf; $P`, true, "terramate generate"},
		{"module called in JSON", `mkdir m; echo '# 1' >m/x.tf; echo '{"module":{"m":{"source":"../m"}}}' >a/m.tf.json; commit m; $D`, `echo '# 2' >m/x.tf; commit m2; tmnotes list --pending --why; $P`, true, "/m"},
		{"module that cannot be followed", `mkdir m; echo '# 1' >m/x.tf; printf 'module "m" {\n  source = "${local.m}/m"\n}\n' >a/m.tf; commit m; $D`, `echo '# 2' >m/x.tf; commit m2; tmnotes list --pending --why; $P`, true, "m.tf:2"},
		{"file() outside of the stack", `echo 1 >x.json; echo 'locals { x = file("${path.module}/../x.json") }' >a/x.tf; commit x; $D`, `echo 2 >x.json; commit x2; tmnotes list --pending --why; $P`, true, "/x.json"},
		{"run.env", `printf 'globals {\n  tag = "1"\n}\nterramate {\n  config {\n    run {\n      env {\n        TF_VAR_tag = global.tag\n      }\n    }\n  }\n}\n' >env.tm; commit env; $D`,
			`sed -i 's/"1"/"2"/' env.tm; commit env2; $P`, true, "run.env TF_VAR_tag"},
		{"another stack's files", `mkdir -p b; printf 'stack {\n  id = "b"\n}\n' >b/stack.tm; commit b; $D`, `echo x >b/x; commit b2; tmnotes run --pending --op deploy --tags '' -C a -- deploy`, false, "no stack is pending"},
		{"changed while it ran", `tmnotes run --op deploy -- sh -c 'deploy; echo x >>main.tf'`, `git checkout -q a; $D`, true, ""},
		{"changed before it started", `mkdir -p b; printf 'stack {\n  after = ["/a"]\n}\n' >b/stack.tm; echo 1 >b/x; commit b; tmnotes run --op deploy -- sh -c 'deploy; echo 2 >../b/x'`,
			`git checkout -q b; tmnotes run --op deploy -C b -- deploy`, true, ""},

		// The commit.
		{"another commit", `$D`, `git commit -q --allow-empty -m next; git push -q; $D`, true, ""},
		{"another commit, pending", `$D`, `git commit -q --allow-empty -m next; git push -q; $P`, false, "no stack is pending"},
		{"copied note", `$D`, `git commit -q --allow-empty -m next; git push -q; git notes --ref=tmnotes copy HEAD~1 HEAD; $D`, true, ""},
		{"a commit made while it ran", `tmnotes run --op deploy -- sh -c 'deploy; git commit -q --allow-empty -m meanwhile'`, `git reset -q --hard HEAD~1; $D`, true, ""},

		// The word.
		{"marked by hand", `tmnotes mark --reason 'from a laptop' /a`, `$D`, false, "up to date"},
		{"a tag", ``, `blob=$(printf 'at=2026-01-01T00:00:00.000Z status=ok op=deploy stack=/a id=id-a variant=any run=01M8JZZZZZZZZZZZZZZZZZZZZZ\n' | git hash-object -w --stdin);
			git tag refs/notes/tmnotes $(git commit-tree -m x $(printf '100644 blob %s\t%s\n' $blob $(git rev-parse HEAD) | git mktree)); git push -q origin tag refs/notes/tmnotes; $D`, true, ""},
		{"the same run once more", `export TMNOTES_RUN=01M8K3TA5BZQCFN7DYMBKCE07M; $D; tmnotes run --force --op deploy -- sh -c 'deploy; exit 1' || :`, `$D`, true, ""},
		{"another way in", `cd a; tmnotes exec --op deploy -- deploy; cd ..; tmnotes sync`, `$D`, false, "up to date"},
	} {
		if strings.Contains(c.first+c.then, "$TF") || strings.Contains(c.first+c.then, "tf ") {
			if _, err := exec.LookPath("terraform"); err != nil {
				continue
			}
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.makeProject("work", true, "/a")
			sh := func(what, script string) string {
				cmd := w.command("work", "sh", "-euc", ask+script)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Run(); err != nil {
					t.Fatalf("%s: %v\n%s", what, err, &out)
				}
				return out.String()
			}
			sh("first", `printf 'variable "v" {\n  default = ""\n}\n' >a/v.tf; commit variable; `+c.first)
			w.ran()
			out := sh("then", c.then)
			if got := len(w.ran()) > 0; got != c.runs || !strings.Contains(out, c.says) {
				t.Errorf("it ran: %v, and says\n%s\nwant %v, %q", got, out, c.runs, c.says)
			}
		})
	}
}
