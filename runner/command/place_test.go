package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const s3 = `{"version":3,"backend":{"type":"s3","config":{"bucket":"b","key":"K","region":"r","access_key":"A","secret_key":"S","token":null,"assume_role":{"role_arn":"arn","external_id":"E"}},"hash":1}}`

func TestPlace(t *testing.T) {
	t.Parallel()
	code := func(more map[string]string) map[string]string {
		files := map[string]string{"s/main.tf": "terraform {\n  backend \"s3\" {\n  }\n}\n"}
		for k, v := range more {
			files[k] = v
		}
		return files
	}
	replace := strings.NewReplacer
	seen := map[string]string{}
	type row struct {
		files     map[string]string
		cmds, env string
	}
	for name, class := range map[string][]row{
		"default, local": {{nil, "terraform apply", ""}, {map[string]string{"s/.terraform/modules": ""}, "terraform apply", ""}, {map[string]string{"s/.terraform/environment": "default"}, "./x.sh", ""},
			{map[string]string{"s/.terraform/terraform.tfstate": `{"version":3}`}, "terraform apply", ""}, {nil, "terraform apply", "TF_WORKSPACE=default"}},
		"blue, local": {{map[string]string{"s/.terraform/environment": "blue"}, "terraform apply", ""}, {map[string]string{"s/.terraform/environment": "blue\n"}, "terraform apply -no-color", "TF_WORKSPACE="},
			{map[string]string{"s/.terraform/environment": "green"}, "terraform apply", "TF_WORKSPACE=blue"}, {nil, "terraform apply", "TF_WORKSPACE=blue"},
			{map[string]string{"s/.terraform/environment": "green"}, "terraform workspace select -or-create blue; terraform apply; terraform workspace select red", ""},
			{map[string]string{"s/d/environment": "blue"}, "terraform apply", "TF_DATA_DIR=d"}, {map[string]string{"s/sub/.terraform/environment": "blue"}, "terraform -chdir=sub apply", ""}},
		"default, s3": {{code(map[string]string{"s/.terraform/terraform.tfstate": s3}), "terraform apply", ""},
			{code(map[string]string{"s/.terraform/terraform.tfstate": replace(`"A"`, `"B"`, `"S"`, `null`, `"E"`, `"F"`, `"hash":1`, `"hash":2`).Replace(s3)}), "terraform apply", ""},
			{code(map[string]string{"s/.terraform/terraform.tfstate": s3, "s/x.tf": "# comment on the backend"}), "./x.sh", ""}},
		"default, s3, another key": {{code(map[string]string{"s/.terraform/terraform.tfstate": replace(`"K"`, `"L"`).Replace(s3)}), "terraform apply", ""}},
		"default, s3, declared otherwise": {{map[string]string{"s/.terraform/terraform.tfstate": s3, "s/main.tf": "terraform {\nbackend \"s3\" {\nbucket = \"x\"\n}\n}\n"}, "terraform apply", ""},
			{map[string]string{"s/.terraform/terraform.tfstate": s3, "s/main.tf": "terraform {\nbackend \"s3\" { # a\nbucket=\"x\"\n}\n}\n"}, "terraform apply", ""}},
		"blue, s3":       {{code(map[string]string{"s/.terraform/terraform.tfstate": s3, "s/.terraform/environment": "blue"}), "terraform apply", ""}},
		"terragrunt, s3": {{map[string]string{"s/.terragrunt-cache/a/b/m/.terraform/terraform.tfstate": replace("K", "M").Replace(s3)}, "terragrunt apply", ""}, {map[string]string{"c/a/b/.terraform/terraform.tfstate": replace("K", "M").Replace(s3)}, "terragrunt apply --download-dir ../c", ""}, {map[string]string{"c/a/b/.terraform/terraform.tfstate": replace("K", "M").Replace(s3)}, "terragrunt apply", "TG_DOWNLOAD_DIR=../c"}},
		"cloud":          {{map[string]string{"s/.terraform/environment": "app", "s/.terraform/terraform.tfstate": `{"backend":{"type":"cloud","config":{"organization":"o","token":"t","workspaces":{"name":"app"}}}}`}, "terraform apply", ""}},
		"http":           {{map[string]string{"s/.terraform/terraform.tfstate": `{"backend":{"type":"http","config":{"address":null,"password":"x"}}}`}, "terraform apply", "TF_HTTP_ADDRESS=http://a"}},
		"http, another":  {{map[string]string{"s/.terraform/terraform.tfstate": `{"backend":{"type":"http","config":{"address":null}}}`}, "terraform apply", "TF_HTTP_ADDRESS=http://b"}},
		"pg": {{map[string]string{"s/.terraform/terraform.tfstate": `{"backend":{"type":"pg","config":{"conn_str":"postgres://u:p@h/d?password=x"}}}`}, "terraform apply", ""},
			{map[string]string{"s/.terraform/terraform.tfstate": `{"backend":{"type":"pg","config":{"conn_str":"postgres://v:q@h/d?password=y"}}}`}, "terraform apply", ""}},
		"pg, another": {{map[string]string{"s/.terraform/terraform.tfstate": `{"backend":{"type":"pg","config":{"conn_str":"postgres://u:p@h/e?password=x"}}}`}, "terraform apply", ""}},
	} {
		first := ""
		for i, r := range class {
			_, place := lookAt(t, write(t, with(r.files)), r.cmds, r.env)
			got := place.Workspace + " " + place.Backend
			if !place.Known() {
				t.Errorf("%s, %d: %+v is not known", name, i, place)
			}
			if i == 0 {
				first = got
				if other, ok := seen[got]; ok {
					t.Errorf("%s is %s: %s", name, other, got)
				}
				seen[got] = name
			} else if got != first {
				t.Errorf("%s, %d: %s, want %s", name, i, got, first)
			}
		}
	}
	for name, r := range map[string]row{
		"not initialised":            {code(nil), "terraform apply", ""},
		"init -backend=false":        {code(map[string]string{"s/.terraform/modules": ""}), "terraform apply", ""},
		"a program of one's own":     {nil, "./deploy.sh", ""},
		"a cloud that says":          {map[string]string{"s/main.tf": "terraform {\n  cloud {\n  }\n}\n"}, "terraform apply", ""},
		"several of Terragrunt's":    {map[string]string{"s/.terragrunt-cache/a/b/.terraform/x": "", "s/.terragrunt-cache/a/c/.terraform/x": ""}, "terragrunt apply", ""},
		"a script that chooses":      {nil, "terraform init -backend-config=x; terraform apply", ""},
		"declared in JSON":           {map[string]string{"s/b.tf.json": `{"terraform":{"backend":{"s3":{}}}}`}, "terraform apply", ""},
		"declared in a list":         {map[string]string{"s/b.tf.json": `{"terraform":[{"backend":[{"s3":{}}]}]}`}, "terraform apply", ""},
		"declared in broken code":    {map[string]string{"s/b.tf": `terraform { backend "s3" {`}, "terraform apply", ""},
		"declared in OpenTofu's own": {map[string]string{"s/b.tofu": "terraform {\n  backend \"s3\" {\n  }\n}\n"}, "tofu apply", ""},
	} {
		if _, place := lookAt(t, write(t, with(r.files)), r.cmds, r.env); place.Known() {
			t.Errorf("%s: %+v is known", name, place)
		}
	}
}

func with(files map[string]string) map[string]string {
	all := map[string]string{"s/stack.tm.hcl": "stack {}"}
	for k, v := range files {
		all[k] = v
	}
	return all
}

// What Terraform itself leaves in its data directory.
func TestPlaceOfTerraform(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(err)
	}
	const local = "terraform {\n  backend \"local\" {\n    path = \"x/y.tfstate\"\n  }\n}\n"
	root := write(t, map[string]string{"s/main.tf": local, "s/sub/main.tf": local})
	terraform := func(env string, args ...string) {
		t.Helper()
		cmd := exec.Command("terraform", args...)
		cmd.Dir = filepath.Join(root, "s")
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=/dev/null")
		if env != "" {
			cmd.Env = append(cmd.Env, env)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("terraform %v: %v\n%s", args, err, out)
		}
	}
	at := func(cmd, env string) string {
		t.Helper()
		_, place := lookAt(t, root, cmd, env)
		kind, _, _ := strings.Cut(place.Backend, ".")
		if !place.Known() {
			kind = "?"
		}
		return place.Workspace + ":" + kind
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	want(at("terraform apply", ""), ":?")
	terraform("", "init", "-input=false")
	want(at("terraform apply", ""), ":local")
	_, before := lookAt(t, root, "terraform apply", "")
	terraform("", "workspace", "new", "blue")
	want(at("terraform apply", ""), "blue:local")
	terraform("", "workspace", "select", "default")
	want(at("terraform apply", ""), ":local")
	terraform("TF_DATA_DIR=d", "-chdir=sub", "init", "-input=false")
	want(at("terraform -chdir=sub apply", "TF_DATA_DIR=d"), ":local")
	want(at("terraform -chdir=sub apply", ""), ":?")
	terraform("", "init", "-input=false", "-reconfigure", "-backend-config=path=z.tfstate")
	if _, after := lookAt(t, root, "terraform apply", ""); after.Backend == before.Backend || after.Backend[len(after.Backend)-5:] != before.Backend[len(before.Backend)-5:] {
		t.Errorf("%q, then %q", before.Backend, after.Backend)
	}
}

// Two plans of the same values are one deployment, though their files differ.
func TestPlanOfTerraform(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(err)
	}
	root := write(t, map[string]string{"s/main.tf": "variable \"v\" {}\nvariable \"password\" {}\nresource \"terraform_data\" \"x\" { input = var.v }\n"})
	digests := map[string]string{}
	for _, vars := range []string{"1 a", "1 b", "2 a"} {
		v, password, _ := strings.Cut(vars, " ")
		cmd := exec.Command("terraform", "plan", "-input=false", "-out=p", "-var=v="+v, "-var=password="+password)
		cmd.Dir = filepath.Join(root, "s")
		cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_CLI_CONFIG_FILE=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		digests[vars] = look(t, root, "terraform apply p", "").Variant
	}
	if digests["1 a"] != digests["1 b"] || digests["1 a"] == digests["2 a"] {
		t.Errorf("%v", digests)
	}
	if look(t, root, "terraform apply q", "").Variant == digests["1 a"] {
		t.Error("a plan that is not there is one that is")
	}
}

func TestAWSAccount(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"ASIAQNZGKIQY56JQ7WML": "29608264753", "ASIAY34FZKBOKMUTVV7A": "609629065308", "AKIAI44QH8DHBEXAMPLE": "AKIAI44QH8DHBEXAMPLE", "x": "x", "AKIA0000000000000000": "AKIA0000000000000000"} {
		if got := awsAccount(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestSameBackend(t *testing.T) {
	t.Parallel()
	one, other := "terraform {\n  backend \"s3\" {\n    key = \"a\"\n  }\n}\n", "terraform {\n  backend \"s3\" {\n    key = \"b\"\n  }\n}\n"
	for _, tt := range []struct {
		was, is string
		want    bool
	}{
		{"", "", true}, {"# a", "# cloud", true}, {one, one, true}, {one, "# 2\n" + one, true},
		{one, other, false}, {"", one, false}, {one, "", false}, {"terraform {\n  cloud {}\n}\n", "", false}, {"resource \"cloud_run\" \"x\" {\n}\n", "", true},
	} {
		if got := SameBackend("/a/main.tf", []byte(tt.was), []byte(tt.is)); got != tt.want {
			t.Errorf("%q and %q: %v", tt.was, tt.is, got)
		}
	}
}
