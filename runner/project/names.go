package project

import (
	"path"
	"strings"
)

// Friendly is a stack's path as `terramate list` prints it: as seen from the
// working directory.
func (p *Project) Friendly(stack string) string {
	if dir, ok := p.engine.FriendlyFmtDir(stack); ok {
		return dir
	}
	return stack
}

// Artifact reports whether an untracked file is one that terraform, tofu or
// terragrunt leaves behind when it runs: it is a product of the stack, and
// makes its inputs no different. (A lock file that is tracked and modified is
// an input.)
func Artifact(file string) bool {
	switch base := path.Base(file); {
	case base == ".terraform", base == ".terragrunt-cache", base == "terraform.tfstate.d":
		return true
	case base == lockFile, base == "crash.log":
		return true
	case strings.HasSuffix(base, ".tfstate"), strings.HasSuffix(base, ".tfstate.backup"), strings.HasSuffix(base, ".tfstate.lock.info"), strings.HasPrefix(base, "terraform.tfstate"):
		return true
	}
	return strings.Contains("/"+file, "/.terraform/") || strings.Contains("/"+file, "/terraform.tfstate.d/") || strings.Contains("/"+file, "/.terragrunt-cache/")
}
