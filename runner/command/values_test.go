package command

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// write makes files below a new folder.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// look is what a command, or the commands of a script, sees in the stack /s of a project.
func look(t *testing.T, root, cmds, env string) Operation {
	t.Helper()
	op, _ := lookAt(t, root, cmds, env)
	return op
}

func lookAt(t *testing.T, root, cmds, env string) (Operation, Place) {
	t.Helper()
	var vars, runEnv []string
	for kv := range strings.SplitSeq(env, "|") {
		if rest, is := strings.CutPrefix(kv, "run.env "); is {
			name, _, _ := strings.Cut(rest, "=")
			kv, runEnv = rest, append(runEnv, name)
		}
		vars = append(vars, kv)
	}
	op := Recognise(strings.Fields(cmds), vars, "")
	if strings.Contains(cmds, ";") {
		op = RecogniseScript([]string{"x"}, commandsOf(cmds), vars, "", "")
	}
	tracked := func(file string) (bool, error) { return strings.Contains(file, "tracked"), nil }
	op, place, err := NewReader(root, tracked).Look(op, Surroundings{Dir: filepath.Join(root, "s"), Env: vars, RunEnv: runEnv})
	if err != nil {
		t.Fatal(err)
	}
	return op, place
}

// Each row is a class of deployments with one variant; no two rows share one.
func TestValues(t *testing.T) {
	t.Parallel()
	a := map[string]string{"s/main.tf": "", "env/common.tfvars": "v = 1\n", "env/b.json": `{"a": 1}`, "s/secrets.tfvars": `password = "x"`, "s/sub/x.tfvars": "v = 1"}
	changed := func(name, content string) string {
		files := map[string]string{}
		for k, v := range a {
			files[k] = v
		}
		files[name] = content
		return write(t, files)
	}
	base := write(t, a)
	const file = "terraform apply -var-file=../env/common.tfvars"
	type row struct{ root, cmds, env string }
	seen := map[string]row{}
	for _, class := range [][]row{
		{{base, "terraform apply", ""}, {base, "terraform apply", "HOME=/x|AWS_SECRET_ACCESS_KEY=x|TF_VAR_db_password=x"}, {base, "terraform apply", "TF_VAR_db_password=y|AWS_REGION="},
			{base, "terraform apply", "run.env PATH=/x|run.env API_TOKEN=1"}, {changed("s/tracked.auto.tfvars", "v=2"), "terraform apply", ""}, {base, "terraform init; terraform apply", ""}},
		{{base, "terraform apply", "TF_VAR_v=1"}, {base, "terraform apply", "TF_VAR_v=2|TF_VAR_v=1"}, {base, "terraform apply", "run.env TF_VAR_v=1"}},
		{{base, "terraform apply", "TF_VAR_v=2"}},
		{{base, "terraform apply", "TF_VAR_v="}},
		{{base, "terraform apply", "TF_VAR_w=1"}},
		{{base, "terraform apply", `TF_VAR_v={a=1, password="x"}`}, {base, "terraform apply", `TF_VAR_v={a=1, password="y"}`}},
		{{base, "terraform apply", `TF_VAR_v={a=2, password="x"}`}},
		{{base, "terraform apply", "TF_VAR_v=postgres://u:p@h/d"}, {base, "terraform apply", "TF_VAR_v=postgres://u:q@h/d"}},
		{{base, "terraform apply", "AWS_PROFILE=prod"}}, {{base, "terraform apply", "AWS_PROFILE=dev"}}, {{base, "terraform apply", "AWS_REGION=x"}},
		{{base, "terraform apply", "AWS_ENDPOINT_URL_S3=http://x"}},
		// Keys of one account, from the documentation of their form.
		{{base, "terraform apply", "AWS_ACCESS_KEY_ID=ASIAQNZGKIQY56JQ7WML"}, {base, "terraform apply", "AWS_ACCESS_KEY_ID=ASIAQNZGKIQY7777AAAA"}},
		{{base, "terraform apply", "AWS_ACCESS_KEY_ID=ASIAY34FZKBOKMUTVV7A"}},
		{{base, "terraform apply", "TF_DATA_DIR=x"}},
		{{base, "terraform apply", "run.env STAGE=a"}}, {{base, "terraform apply", "run.env STAGE=b"}},
		{{base, file, ""}, {base, "terraform apply", "TF_CLI_ARGS_apply=-var-file=../env/common.tfvars"}, {changed("env/common.tfvars", "# c\nv =   1"), file, ""}},
		{{changed("env/common.tfvars", "v = 2\n"), file, ""}, {changed("env/common.tfvars", "v = 2\n"), "terraform apply", "TF_CLI_ARGS=-var-file=../env/common.tfvars"}},
		{{changed("env/common.tfvars", "v = 1\npassword = 1"), file, ""}, {changed("env/common.tfvars", "v = 1\npassword = 2"), file, ""}},
		// What is committed is no secret to anybody.
		{{changed("s/tracked.x", "password = 1"), "terraform apply -var-file=tracked.x", ""}}, {{changed("s/tracked.x", "password = 2"), "terraform apply -var-file=tracked.x", ""}},
		{{base, "terraform apply", `TF_VAR_private_subnets=["a"]`}}, {{base, "terraform apply", `TF_VAR_private_subnets=["b"]`}},
		{{base, "terraform apply -var-file=none", ""}},
		{{base, "terraform apply -var-file=../env/b.json", ""}, {changed("env/b.json", "{\n\"a\":1}"), "terraform apply -var-file=../env/b.json", ""}},
		{{changed("env/b.json", `{"a":2}`), "terraform apply -var-file=../env/b.json", ""}},
		{{base, "terraform apply -var-file=secrets.tfvars", ""}, {changed("s/secrets.tfvars", `password = "y"`), "terraform apply -var-file=secrets.tfvars", ""}},
		{{base, "terraform -chdir=sub apply -var-file=x.tfvars", ""}},
		{{changed("s/sub/x.tfvars", "v = 2"), "terraform -chdir=sub apply -var-file=x.tfvars", ""}},
		{{base, "terraform apply -var-file=" + base + "/env/common.tfvars", ""}, {write(t, a), "terraform apply -var-file={}/env/common.tfvars", ""}},
		{{changed("s/x.auto.tfvars", "v=1"), "terraform apply", ""}}, {{changed("s/x.auto.tfvars", "v=2"), "terraform apply", ""}},
		{{changed("s/terraform.tfvars", "v=1"), "terraform apply", ""}}, {{changed("s/terraform.tfvars.json", "{}"), "terraform apply", ""}},
		{{base, "terraform apply -var password=x", ""}, {base, "terraform apply -var=password=y", ""}},
		{{base, "terraform apply -var=v=1", ""}},
		{{base, "./deploy.sh", ""}, {base, "./deploy.sh", "TF_VAR_secret=1"}},
		{{base, "./deploy.sh", "TF_VAR_v=1"}}, {{base, "./deploy.sh", "run.env STAGE=a"}},
		{{base, "./deploy.sh --password=a --token b", ""}, {base, "./deploy.sh --password=b --token c", ""}},
		{{base, "./deploy.sh --key=a", ""}}, {{base, "./deploy.sh --key=b", ""}}, {{base, "./deploy.sh --key a", ""}},
		{{base, "doppler run -- terraform apply -var-file ../env/common.tfvars", ""}},
		{{changed("env/common.tfvars", "v = 2"), "doppler run -- terraform apply -var-file ../env/common.tfvars", ""}},
		{{base, "sh -c terraform\u00a0apply\u00a0-var-file=../env/common.tfvars", ""}},
		{{changed("env/common.tfvars", "v = 2"), "sh -c terraform\u00a0apply\u00a0-var-file=../env/common.tfvars", ""}},
		{{base, "terraform plan -out=p -var-file=../env/common.tfvars; terraform apply p", ""}},
		{{changed("env/common.tfvars", "v = 2"), "terraform plan -out=p -var-file=../env/common.tfvars; terraform apply p", ""}},
	} {
		first := ""
		for i, r := range class {
			cmds := strings.ReplaceAll(strings.ReplaceAll(r.cmds, "{}", r.root), "\u00a0", " ")
			op := look(t, r.root, cmds, r.env)
			if strings.Contains(r.cmds, "\u00a0") {
				op = shell(t, r.root, cmds)
			}
			if !regexp.MustCompile(`^2:[0-9a-f]{8}$`).MatchString(op.Variant) {
				t.Fatalf("variant %q", op.Variant)
			}
			other, ok := seen[op.Variant]
			if i == 0 {
				first = op.Variant
				if ok {
					t.Errorf("%v is %v (%s)", r, other, op.Values)
				}
				seen[first] = r
			} else if op.Variant != first {
				t.Errorf("%v is not %v (%s)", r, class[0], op.Values)
			}
		}
	}
}

func shell(t *testing.T, root, cmd string) Operation {
	op := Recognise([]string{"sh", "-c", strings.TrimPrefix(cmd, "sh -c ")}, nil, "")
	op, _, err := NewReader(root, nil).Look(op, Surroundings{Dir: filepath.Join(root, "s")})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

func TestValuesText(t *testing.T) {
	t.Parallel()
	root := write(t, map[string]string{"s/x.auto.tfvars": "v = 1", "env/a b.tfvars": "v = 1"})
	op := Recognise([]string{"terraform", "apply", "-var-file", "../env/a b.tfvars"}, nil, "")
	env := []string{"TF_VAR_v=hunter2", "AWS_PROFILE=prod", "TAG=7", "TF_VAR_password=x"}
	op, _, err := NewReader(root, func(string) (bool, error) { return false, nil }).Look(op, Surroundings{Dir: root + "/s", Env: env, RunEnv: []string{"TAG"}})
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^-var-file:../env/a%20b.tfvars=\w{6} env:AWS_PROFILE=\w{6} env:TF_VAR_v=\w{6} ignored:x.auto.tfvars=\w{6} run.env:TAG=\w{6}$`)
	if !want.MatchString(op.Values) {
		t.Errorf("%q", op.Values)
	}
	// What can be seen without the command is as it was, until it is not.
	r := NewReader(root, func(string) (bool, error) { return false, nil })
	seen, added, err := r.Seen(op.Values, root+"/s")
	if err != nil || added != nil || len(strings.Fields(seen)) != 2 || !strings.Contains(op.Values, strings.Fields(seen)[0]) || !strings.Contains(op.Values, strings.Fields(seen)[1]) {
		t.Errorf("%q, %q, %v; recorded %q", seen, added, err, op.Values)
	}
	if _, added, _ = r.Seen("", root+"/s"); len(added) != 1 {
		t.Errorf("%q", added)
	}
	// Many are folded.
	env = nil
	for i := range 60 {
		env = append(env, "TF_VAR_v"+strings.Repeat("x", i)+"=1")
	}
	op, _, _ = r.Look(op, Surroundings{Env: env})
	if entries := strings.Fields(op.Values); len(entries) != ValuesLimit || !strings.HasPrefix(entries[len(entries)-1], "more=") {
		t.Errorf("%d values: %q", len(entries), op.Values)
	}
}

// A pipe is read by who it is for, and an unreadable file is no missing one.
func TestValuesOfNoFile(t *testing.T) {
	t.Parallel()
	root := write(t, map[string]string{"s/d/x": "", "s/p": ""})
	if op := look(t, root, "terraform apply -var-file=d", ""); !strings.Contains(op.Values, "=special") {
		t.Errorf("%q", op.Values)
	}
	if op := look(t, root, "terraform apply -var-file=p/x", ""); !strings.Contains(op.Values, "=missing") {
		t.Errorf("%q", op.Values)
	}
	if op := look(t, root, "terraform apply -var-file=/dev/zero", ""); runtime.GOOS != "windows" && !strings.Contains(op.Values, "=special") {
		t.Errorf("%q", op.Values)
	}
}
