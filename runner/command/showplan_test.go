package command

import (
	"strings"
	"testing"
)

// The plan that is applied is known, or else nothing is.
func TestShowPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cmd, env, want string }{
		{cmd: "terraform apply x.tfplan", want: "terraform show x.tfplan"},
		{cmd: "/opt/tofu -chdir=sub apply -auto-approve -input=false x.tfplan", want: "/opt/tofu -chdir=sub show x.tfplan"},
		{cmd: "terraform apply", env: "TF_CLI_ARGS_apply=-auto-approve x.tfplan", want: "terraform show x.tfplan"},
		{cmd: "terraform apply -auto-approve"},
		{cmd: "terraform apply x.tfplan y.tfplan"},
		{cmd: "terraform apply x.tfplan -auto-approve"},
		{cmd: "terraform apply -strange x.tfplan"},
		{cmd: "terraform -strange apply x.tfplan"},
		{cmd: "terraform apply x.tfplan", env: "TF_CLI_ARGS='"},
		{cmd: "terraform destroy x.tfplan"},
		{cmd: "terraform plan x.tfplan"},
		{cmd: "terragrunt apply x.tfplan", want: "terragrunt show x.tfplan"},
		{cmd: "terragrunt run -- apply x.tfplan", want: "terragrunt show x.tfplan"},
		{cmd: "terragrunt run --all -- apply x.tfplan"},
		{cmd: "terragrunt apply x.tfplan --working-dir elsewhere"},
		{cmd: "make apply x.tfplan"},
	} {
		if got := strings.Join(ShowPlan(strings.Fields(c.cmd), []string{c.env}), " "); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.env, c.cmd, got, c.want)
		}
	}
}
