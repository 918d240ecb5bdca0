package command

import (
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestRecognise(t *testing.T) {
	t.Parallel()
	const note = "*" // any note
	for _, c := range []struct {
		cmd  string // words, by blanks
		env  string // NAME=VALUE, by "|"
		name string
		note string
	}{
		// Whole applies.
		{"terraform apply", "", "deploy", ""},
		{"terraform apply -auto-approve", "", "deploy", ""},
		{"tofu apply --auto-approve", "", "deploy", ""},
		{"/opt/tf/terraform apply", "", "deploy", ""},
		{"terraform.exe apply", "", "deploy", ""},
		{"terraform -chdir=sub apply -input=false -lock-timeout 5s", "", "deploy", ""},
		{"terraform apply -var a=b -var-file x -parallelism 3 -state s -state-out o -backup b", "", "deploy", ""},
		{"terraform apply -var=target=x -var -target=x", "", "deploy", ""},
		{"terraform apply -replace terraform_data.a", "", "deploy", ""},
		{"terraform apply -refresh-only=false -destroy=false", "", "deploy", ""},
		{"terraform apply -refresh=false", "", "deploy", ""},
		{"terraform apply -destroy -destroy=0", "", "deploy", ""},
		{"terraform apply", "TF_CLI_ARGS_apply=-destroy|TF_CLI_ARGS_apply=-no-color", "deploy", ""},
		{"terraform apply -destroy=false", "TF_CLI_ARGS_apply=-destroy", "deploy", ""},
		{"terraform apply", "TF_CLI_ARGS_plan=-destroy -target=x", "deploy", ""},
		{"terraform apply", "TF_CLI_ARGS=-var 'a=b c'|TF_CLI_ARGS_apply=-var \"x=\\\"y\\\"\"", "deploy", ""},
		{"terraform apply", "TF_CLI_ARGS_apply=-no-color; -target=x", "deploy", ""}, // Terraform drops what is behind the semicolon
		{"terragrunt apply", "", "deploy", ""},
		{"terragrunt apply --terragrunt-config x.hcl --terragrunt-non-interactive -auto-approve", "", "deploy", ""},
		{"terragrunt --working-dir x --log-level=debug apply", "", "deploy", ""},
		{"terragrunt run -- apply -auto-approve", "", "deploy", ""},
		{"terragrunt run apply -- -auto-approve", "", "deploy", ""},
		// Applies that are something else.
		{"terraform apply plan.out", "", "apply", "saved plan"},
		{"terraform apply -auto-approve -- plan.out", "", "apply", "saved plan"},
		{"terraform apply -lock false", "", "apply", "saved plan"}, // as flag reads it
		{"terraform apply -target=x", "", "apply", "-target"},
		{"terraform apply --target x", "", "apply", "-target"},
		{"terraform apply -target", "", "apply", note},
		{"terraform apply", "TF_CLI_ARGS=-target=x", "apply", "-target"},
		{"terraform apply", "TF_CLI_ARGS_apply=-no-color '-target=x y'", "apply", "-target"},
		{"terragrunt apply", "TF_CLI_ARGS_apply=-target=x", "apply", "-target"},
		{"terraform apply", "TF_CLI_ARGS='-no-color", "apply", "TF_CLI_ARGS is not understood"},
		{"terraform apply", "TF_CLI_ARGS=plan.out", "apply", "saved plan"},
		{"tofu apply -exclude=x", "", "apply", "-exclude"},
		{"tofu apply -target-file x", "", "apply", "-target-file"},
		{"terraform apply -refresh-only", "", "refresh", "-refresh-only"},
		{"terraform apply -refresh-only=1", "", "refresh", "-refresh-only"},
		{"terraform apply -invoke=action.x", "", "apply", "-invoke=action.x is not understood"},
		{"terraform apply -destroy=perhaps", "", "apply", "not understood"},
		{"terraform apply ---target=x", "", "apply", "not understood"},
		{"terraform --chdir=x apply", "", "apply", "not understood"},
		{"terraform -chdir x apply", "", "x", ""},
		{"terragrunt --unknown-thing apply", "", "apply", "not understood"},
		{"terragrunt apply --queue-exclude-dir x", "", "apply", "not understood"},
		{"terragrunt run -- apply plan.out", "", "apply", "saved plan"},
		{"terraform apply -help", "", "help", ""},
		{"terraform apply -h", "", "help", ""},
		{"terraform -help apply", "", "help", ""},
		{"terraform apply", "TF_CLI_ARGS_apply=-h", "help", ""},
		{"terraform apply -version", "", "version", ""},
		{"terraform -v apply", "", "version", ""},
		{"terragrunt run -- apply --help", "", "help", ""},
		// Destroys.
		{"terraform destroy", "", "destroy", ""},
		{"terraform destroy -destroy=false", "", "destroy", ""}, // destroys all the same
		{"terraform destroy -brand-new-option", "", "destroy", ""},
		{"terraform destroy -auto-approve", "TF_CLI_ARGS_destroy=-target=x", "destroy-target", "-target"},
		{"terraform destroy -target x", "", "destroy-target", "-target"},
		{"terraform apply -destroy", "", "destroy", ""},
		{"terraform apply --destroy=t -auto-approve", "", "destroy", ""},
		{"terraform apply -destroy -target=x", "", "destroy-target", "-target"},
		{"terraform apply", "TF_CLI_ARGS_apply=-destroy", "destroy", ""},
		{"terraform apply", "TF_CLI_ARGS=-destroy|TF_CLI_ARGS_apply=-destroy=false", "destroy", ""}, // TF_CLI_ARGS comes after
		{"terraform apply -destroy plan.out", "", "apply", "saved plan"},
		{"terragrunt destroy", "", "destroy", ""},
		// Several units.
		{"terragrunt run-all apply", "", "apply", note},
		{"terragrunt apply-all", "", "apply", note},
		{"terragrunt run-all destroy", "", "destroy", note},
		{"terragrunt destroy-all", "", "destroy", note},
		{"terragrunt run --all -- destroy", "", "destroy", note},
		{"terragrunt run --all apply", "", "apply", note},
		{"terragrunt run --all -- apply", "", "apply", note},
		{"terragrunt run -a -- apply", "", "apply", note},
		{"terragrunt apply --all", "", "apply", note},
		{"terragrunt stack run apply", "", "apply", note},
		{"terragrunt graph apply", "", "apply", note},
		{"terragrunt run -- apply", "TG_ALL=true", "apply", note},
		{"terragrunt run -- apply", "TG_ALL=false", "deploy", ""},
		// Others of Terraform.
		{"terraform plan -out plan.out", "", "plan", ""},
		{"terraform init", "", "init", ""},
		{"terraform workspace select prod", "", "workspace", ""},
		{"terraform state list", "", "state", ""},
		{"terraform state rm x", "", "state-edit", ""},
		{"terraform deploy", "", "cmd-deploy", ""},
		{"terraform", "", "terraform", ""},
		{"terragrunt hcl fmt", "", "hcl", ""},
		{"terragrunt exec -- terraform apply", "", "exec", ""},
		// Other programs.
		{"ls", "", "ls", ""},
		{"./check.sh", "", "check.sh", ""},
		{"sh -c terraform\u00a0apply", "", "sh", "what sh does is not known"},
		{"sudo terraform apply", "", "sudo", note},
		{"env A=b terraform apply", "", "env", note},
		{"doppler run -- terraform apply", "", "doppler", note},
		{"deploy", "", "cmd-deploy", note},
		{"./scripts/Deploy.EXE", "", "cmd-deploy", ""},
		{"bin/destroy", "", "cmd-destroy", ""},
		{"./Deploy_to prod", "", "deploy_to", ""},
		{"./déploy", "", "d-ploy", ""},
		{"/", "", "cmd", ""},
		{"..", "", "cmd", ""},
		{"", "", "cmd", ""},
		{"terraform-1.5 apply", "", "terraform-1.5", note},
		{strings.Repeat("x", 300), "", strings.Repeat("x", 64), ""},
	} {
		op := Recognise(strings.Fields(strings.ReplaceAll(c.cmd, "\u00a0", "_")), strings.Split(c.env, "|"), "")
		if op.Name != c.name {
			t.Errorf("%q %q: %q (%s), want %q", c.cmd, c.env, op.Name, op.Note, c.name)
		}
		switch {
		case c.note == note && op.Note == "", c.note == "" && op.Note != "":
			t.Errorf("%q %q: note %q", c.cmd, c.env, op.Note)
		case c.note != note && !strings.Contains(op.Note, c.note):
			t.Errorf("%q %q: note %q, want %q", c.cmd, c.env, op.Note, c.note)
		}
	}
}

func TestRecogniseOverride(t *testing.T) {
	t.Parallel()
	op := Recognise([]string{"./up.sh", "deploy"}, nil, "deploy")
	if op.Name != "deploy" || op.Note != "" {
		t.Errorf("%+v", op)
	}
	if got := Recognise([]string{"terraform", "apply"}, nil, "Smoke Test").Name; got != "Smoke Test" {
		t.Errorf("%q", got)
	}
	if a, b := Recognise([]string{"terraform", "apply", "x.plan"}, nil, "deploy"), Recognise([]string{"terraform", "apply", "x.plan"}, nil, ""); a.Variant != b.Variant {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestWorkspace(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{"": "", "TF_WORKSPACE=default": "", "TF_WORKSPACE=prod": "prod", "TF_WORKSPACE=prod|TF_WORKSPACE=": "", "TF_WORKSPACE=a|TF_WORKSPACE=b": "b"} {
		if got := Recognise([]string{"ls"}, strings.Split(env, "|"), "").Workspace; got != want {
			t.Errorf("%q: %q, want %q", env, got, want)
		}
	}
}

// Each row is a class of command lines with one variant; no two rows share one.
func TestVariant(t *testing.T) {
	t.Parallel()
	type line struct{ cmd, env string }
	seen := map[string]string{}
	for _, class := range [][]line{
		{{"terraform apply", ""}, {"/x/terraform apply -auto-approve", ""}, {"terraform apply --no-color -parallelism 3 -input=false", "TF_CLI_ARGS=-lock=false"},
			{"terraform apply -json -compact-warnings -lock-timeout=3s -concise", "TF_CLI_ARGS_apply=-no-color"}, {"terraform apply", "TF_CLI_ARGS_plan=-var=a"},
			{"terraform apply -parallelism=4 -lock-timeout 3s", ""}},
		{{"terraform apply -var-file prod.tfvars", ""}, {"terraform apply --var-file=prod.tfvars -auto-approve", ""}, {"terraform apply", "TF_CLI_ARGS_apply=-var-file=prod.tfvars"},
			{"terraform apply", "TF_CLI_ARGS=--var-file 'prod.tfvars'"}},
		{{"terraform apply -var-file staging.tfvars", ""}, {"terraform apply", "TF_CLI_ARGS=-var-file=prod.tfvars|TF_CLI_ARGS=-var-file=staging.tfvars"}},
		{{"terraform apply -var-file a -var-file b", ""}, {"terraform apply -var-file b", "TF_CLI_ARGS_apply=-var-file a"}},
		{{"terraform apply -var-file b -var-file a", ""}},
		{{"terraform apply -refresh=false", ""}, {"terraform apply --refresh=0", ""}},
		{{"terraform apply -refresh", ""}, {"terraform apply -refresh=true", ""}},
		{{"terraform -chdir=x apply", ""}},
		{{"terraform apply x.plan", ""}},
		{{"terraform apply", "TF_CLI_ARGS='"}},
		{{"terraform apply", "TF_CLI_ARGS='-x"}},
		{{"terraform plan", ""}, {"terraform plan -lock=false", ""}},
		{{"terraform plan -out x", ""}, {"terraform plan -out=x -no-color", ""}},
		{{"tofu apply", ""}},
		{{"terragrunt apply", ""}, {"terragrunt apply --terragrunt-non-interactive", ""}, {"terragrunt run -- apply -auto-approve", ""}, {"terragrunt --log-level debug apply", ""}},
		{{"terragrunt apply --terragrunt-config x", ""}, {"terragrunt --config=x apply", ""}},
		{{"terragrunt apply --terragrunt-config y", ""}},
		{{"./deploy.sh", ""}, {"./deploy.sh", "TF_CLI_ARGS=-no-color"}},
		{{"./deploy.sh -auto-approve", ""}},
		{{"./deploy.sh", "TF_CLI_ARGS=-var-file=prod"}, {"./deploy.sh", "TF_CLI_ARGS=--var-file prod"}},
		{{"./deploy.sh", "TF_CLI_ARGS_apply=-var-file=prod"}},
		{{"./other/deploy.sh", ""}},
		{{"./deploy.sh a b", ""}}, {{"./deploy.sh ab", ""}},
	} {
		first := ""
		for i, l := range class {
			v := Recognise(strings.Fields(l.cmd), strings.Split(l.env, "|"), "").Variant
			if !regexp.MustCompile(`^2:[0-9a-f]{8}$`).MatchString(v) {
				t.Fatalf("variant %q", v)
			}
			if i == 0 {
				first = v
				if other, ok := seen[v]; ok {
					t.Errorf("%v has the variant of %s", l, other)
				}
				seen[v] = l.cmd + " " + l.env
			} else if v != first {
				t.Errorf("%v has another variant than %v", l, class[0])
			}
		}
	}
}

// TF_CLI_ARGS means to us what it means to Terraform, which is asked where it is installed:
// what stands behind an operator of a shell is dropped without a word.
func TestArgsAreTerraforms(t *testing.T) {
	t.Parallel()
	terraform, _ := exec.LookPath("terraform")
	for value, want := range map[string][]string{
		" a  b\tc\n":             {"a", "b", "c"},
		`-var 'a=b c' "d e"f`:    {"-var", "a=b c", "d ef"},
		`'' ""`:                  {"", ""},
		`a\ b "c\"d" 'e\f' g\nh`: {"a b", `c"d`, `e\f`, "gnh"},
		`-var='x={"a"=["b;c"]}'`: {`-var=x={"a"=["b;c"]}`},
		"$HOME ${HOME} #x *":     {"$HOME", "${HOME}", "#x", "*"},
		"`x y` a$(x y)b \"`x`\"": {"`x y`", "a$(x y)b", "`x`"},
		"a; b":                   {"a"},
		"a && b":                 {"a"},
		"a|b":                    {"a"},
		"a 2>b":                  {"a"},
		"'":                      nil,
		`"a`:                     nil,
		`a\`:                     nil,
		"`x":                     nil,
		"f(x)":                   nil,
		"x)":                     nil,
	} {
		got, problem := tfEnv([]string{"TF_CLI_ARGS_version=" + value}).args("version")
		if !slices.Equal(got, want) || (problem == "") != (want != nil) {
			t.Errorf("%q: %q %q, want %q", value, got, problem, want)
		}
		if terraform == "" {
			continue
		}
		cmd := exec.Command(terraform, "version")
		cmd.Env = append(os.Environ(), "TF_LOG=info", "CHECKPOINT_DISABLE=1", "TF_CLI_ARGS=", "TF_CLI_ARGS_version="+value)
		log, _ := cmd.CombinedOutput()
		says := fmt.Sprintf("CLI command args: %#v\n", append([]string{"version"}, want...))
		if want == nil {
			says = "Error parsing extra CLI args from TF_CLI_ARGS_version"
		}
		if !strings.Contains(string(log), says) {
			t.Errorf("%q: no %s in\n%s", value, says, log)
		}
	}
}

func FuzzRecognise(f *testing.F) {
	f.Add("terraform\x00apply\x00-var\x00a=b", "TF_CLI_ARGS=-target=x", "TF_WORKSPACE=x")
	f.Add("terragrunt\x00run\x00--all\x00--\x00apply", "TG_ALL=0", "")
	f.Add("terraform\x00-\x00--\x00", "TF_CLI_ARGS_=\\", "TF_CLI_ARGS")
	f.Add("\x00", "", "=")
	name := regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
	f.Fuzz(func(t *testing.T, cmd, env1, env2 string) {
		argv := strings.Split(cmd, "\x00")
		op := Recognise(argv, []string{env1, env2}, "")
		if !name.MatchString(op.Name) || len(op.Variant) != 10 || len(op.Legacy) != 8 {
			t.Errorf("%q: %+v", argv, op)
		}
		if again := Recognise(argv, []string{env1, env2}, ""); !reflect.DeepEqual(again, op) {
			t.Errorf("%q: %+v, then %+v", argv, op, again)
		}
		tool := ProgramName(argv)
		whole := op.Name == "deploy" || op.Name == "destroy"
		if whole && tool != "terraform" && tool != "tofu" && tool != "terragrunt" {
			t.Errorf("%q is a %s", argv, op.Name)
		}
		if op.Name == "deploy" && (op.Note != "" || !slices.Contains(argv, "apply")) {
			t.Errorf("%q: %+v", argv, op)
		}
	})
}
