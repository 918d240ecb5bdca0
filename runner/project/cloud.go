package project

import (
	"fmt"

	"github.com/terramate-io/hcl/v2/hclwrite"
	tmgit "github.com/terramate-io/terramate/git"
	"github.com/terramate-io/terramate/ui/tui/cliconfig"
	"github.com/zclconf/go-cty/cty"
)

// CloudRepository is how Terramate calls the repository of a remote with its
// cloud, "github.com/acme/infra". The error is for a URL with which it refuses
// to use the cloud: a path, or a file:// without a host (engine, Project.Repo
// and ListStacks).
func CloudRepository(url string) (string, error) {
	r, err := tmgit.NormalizeGitURI(url)
	if err != nil || r.Host == "local" || r.Repo == "" {
		return "", fmt.Errorf("terramate does not use its cloud features with a remote like %s: it wants one with a host, as in https://github.com/acme/infra.git or git@github.com:acme/infra.git", url)
	}
	return r.Repo, nil
}

// QuietUserConfig is the text of the user's Terramate configuration file (TM_CLI_CONFIG_FILE,
// or the one in the home) with telemetry and the check for a newer version
// switched off: for a terramate that is to call nobody.
func QuietUserConfig() ([]byte, error) {
	cfg, err := cliconfig.Load()
	if err != nil {
		return nil, oneLine("loading the Terramate CLI configuration", err)
	}
	f := hclwrite.NewEmptyFile()
	for _, name := range []string{"disable_checkpoint", "disable_checkpoint_signature", "disable_telemetry"} {
		f.Body().SetAttributeValue(name, cty.True)
	}
	if dir := cfg.UserTerramateDir; dir != "" {
		f.Body().SetAttributeValue("user_terramate_dir", cty.StringVal(dir))
	}
	return f.Bytes(), nil
}
