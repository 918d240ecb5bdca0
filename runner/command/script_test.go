package command

import (
	"reflect"
	"strings"
	"testing"
)

func TestRecogniseScript(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cmds     string // by ";"
		env      string
		declared string
		name     string
		note     string // has this in it; "" is none
	}{
		// What its commands do, where all are known.
		{"terraform apply -auto-approve", "", "", "deploy", ""},
		{"terraform init -input=false; terraform validate; terraform plan; terraform apply -auto-approve; terraform output -json", "", "", "deploy", ""},
		{"tofu fmt -check; tofu -chdir=a apply; tofu -chdir=b apply", "", "", "deploy", ""},
		{"terragrunt init; terragrunt apply -auto-approve", "", "", "deploy", ""},
		{"terraform plan -destroy; terraform apply", "", "", "deploy", ""},
		{"terraform workspace select -or-create prod; terraform apply", "", "", "deploy", ""},
		// In doubt it is none, and ends what was deployed.
		{"terraform init; terraform apply; ./notify.sh", "", "", "apply", "what notify.sh does is not known: set sync_deployment = true"},
		{"./prepare.sh; terraform apply", "", "", "apply", "what prepare.sh does is not known"},
		{"terraform apply; terraform state rm x", "", "", "state-edit", ""},
		{"terraform import a b; terraform apply", "", "", "import", ""},
		{"terraform workspace delete x; terraform apply", "", "", "apply", "what terraform workspace does is not known"},
		{"terraform state list; terraform apply", "", "", "apply", "what terraform state does is not known"},
		{"terraform apply; terraform apply -target=x", "", "", "apply", "-target applies a part"},
		{"terraform init -from-module=x; terraform apply", "", "", "apply", "what terraform init does is not known"},
		{"terraform plan -generate-config-out x.tf; terraform apply", "", "", "apply", "what terraform plan does is not known"},
		{"terraform -x init; terraform apply", "", "", "apply", "what terraform init does is not known"},
		{"terraform init; terraform apply", "TF_CLI_ARGS_init='", "", "apply", "what terraform init does is not known"},
		{"terragrunt run-all plan; terragrunt apply", "", "", "apply", "several units"},
		{"terraform plan -out=p; terraform apply p", "", "", "apply", "a saved plan may be partial"},
		{"terraform apply -target=x", "", "", "apply", "-target applies a part"},
		{"terraform init; terraform plan", "", "", "script-db-migrate", ""},
		{"echo hello", "", "", "script-db-migrate", ""},
		{"./deploy.sh", "", "", "script-db-migrate", "what deploy.sh does is not known: add --op deploy"},
		// What its options declare.
		{"terraform plan -out=p; terraform apply p", "", "deploy", "deploy", ""},
		{"./prepare.sh; ./deploy.sh; ./notify.sh", "", "deploy", "deploy", ""},
		{"terraform plan -detailed-exitcode", "", "drift", "drift", ""},
		{"terraform plan -destroy -detailed-exitcode", "", "drift", "drift", ""},
		// A destroy ends a deployment, whatever is declared.
		{"terraform destroy -auto-approve", "", "", "destroy", ""},
		{"terraform init; terraform destroy; ./notify.sh", "", "", "destroy", ""},
		{"terraform destroy", "", "deploy", "destroy", "does not count as deployed"},
		{"terraform destroy; terraform apply", "", "", "destroy", "does not count as deployed"},
		{"terraform apply -destroy", "", "drift", "destroy", ""},
		{"terraform plan -destroy -out=p; terraform apply p", "", "deploy", "destroy", "does not count as deployed"},
		{"terraform plan -out p; terraform apply p", "TF_CLI_ARGS_plan=-destroy", "deploy", "destroy", "does not count as deployed"},
		{"terraform apply p; terraform plan -destroy -out=p", "", "deploy", "deploy", ""},
		{"terraform apply; terraform destroy -target=x", "", "deploy", "destroy-target", "does not count as deployed"},
		{"terraform destroy -target=x; terraform destroy", "", "", "destroy", ""},
	} {
		env := strings.Split(c.env, "|")
		op := RecogniseScript([]string{"db", "Migrate"}, commandsOf(c.cmds), env, c.declared, "")
		if op.Name != c.name || !strings.Contains(op.Note, c.note) || (c.note == "") != (op.Note == "") {
			t.Errorf("%q, %q, declared %q: %+v, want %s (%s)", c.cmds, c.env, c.declared, op, c.name, c.note)
		}
		// What is given by hand is believed; it changes nothing else.
		said := RecogniseScript([]string{"x"}, commandsOf(c.cmds), env, c.declared, "deploy")
		if said.Name != "deploy" || said.Note != "" || said.Variant != op.Variant {
			t.Errorf("%q: %+v with --op deploy, %+v without", c.cmds, said, op)
		}
	}
	if op := RecogniseScript([]string{"Größe", "a b/c"}, commandsOf("ls"), nil, "", ""); op.Name != "script-gr--e-a-b-c" {
		t.Errorf("%+v", op)
	}
	if op := RecogniseScript([]string{"x"}, commandsOf("ls; ls"), []string{"TF_WORKSPACE=prod"}, "", ""); op.Workspace != "prod" {
		t.Errorf("%+v", op)
	}
}

// Each row is a class of scripts with one variant; no two rows share one.
func TestScriptVariant(t *testing.T) {
	t.Parallel()
	seen := map[string]string{Recognise([]string{"ls"}, nil, "").Variant: "ls"}
	for _, class := range [][]string{
		// What changes nothing adds nothing to the one command that deploys.
		{"terraform apply", "terraform apply -auto-approve -no-color", "terraform init; terraform apply", "terraform init -input=false; terraform apply -auto-approve -parallelism=3",
			"terraform apply; terraform init", "terraform init; terraform plan -var-file=x; terraform apply",
			"terraform workspace select x; terraform apply"},
		// What chooses the place does.
		{"terraform init -backend-config=x; terraform apply"},
		{"terraform init -backend-config=y; terraform apply"},
		{"terraform init; terraform apply -var=a=b", "terraform apply -var a=b"},
		{"terraform apply; terraform apply"},
		{"terraform plan -out=p; terraform apply p"}, {"terraform plan -out=p -var=a=b; terraform apply p"},
		{"a b; c"}, {"a; b c"}, {"a b c"}, {"a; b; c"},
	} {
		for i, cmds := range class {
			v := RecogniseScript([]string{"x"}, commandsOf(cmds), nil, "", "").Variant
			if other, ok := seen[v]; ok != (i > 0) || i > 0 && other != class[0] {
				t.Errorf("%q has the variant of %q", cmds, other)
			}
			seen[v] = class[0]
		}
	}
	// One command is the same by itself.
	if a, b := RecogniseScript([]string{"x"}, commandsOf("terraform apply"), nil, "", ""), Recognise([]string{"terraform", "apply", "-no-color"}, nil, ""); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, %+v", a, b)
	}
}

func commandsOf(s string) (cmds [][]string) {
	for c := range strings.SplitSeq(s, ";") {
		cmds = append(cmds, strings.Fields(c))
	}
	return cmds
}
