package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// declaration is how code says where its state is.
type declaration struct {
	kind   string // type of the backend, "cloud"; "" where there is none
	digest string // 4 hex digits, of the block without secrets
}

const undeclared = "0000"

// declared reads the backend or cloud block of the code in a folder
// (developer.hashicorp.com/terraform/language/files: overrides come last).
func (r *Reader) declared(dir string) (declaration, error) {
	found := declaration{digest: undeclared}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	var files []string
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".json")
		if ext := filepath.Ext(name); !entry.IsDir() && (ext == ".tf" || ext == ".tofu") {
			files = append(files, entry.Name())
		}
	}
	slices.SortStableFunc(files, func(a, b string) int {
		return boolInt(overrides(a)) - boolInt(overrides(b))
	})
	var blocks []byte
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return found, err
		}
		if kind, block, is := strings.Cut(declaredIn(name, content), "\x00"); is {
			found.kind = kind
			blocks = append(append(blocks, block...), 0)
		}
	}
	if blocks == nil {
		return found, nil
	}
	if found.digest = shortDigest(blocks, 4); found.digest == undeclared {
		found.digest = "0001"
	}
	return found, nil
}

// SameBackend reports whether two versions of a file of code, nil where there is none, declare the
// same backend, or none.
func SameBackend(name string, was, is []byte) bool {
	return declaredIn(name, was) == declaredIn(name, is)
}

// declaredIn is the block in a file; "" where there is none.
func declaredIn(name string, content []byte) string {
	if !mayDeclare(content) {
		return ""
	}
	kind, block := declaredInHCL(content)
	if strings.HasSuffix(name, ".json") {
		kind, block = declaredInJSON(content)
	}
	if kind == "" {
		return ""
	}
	return kind + "\x00" + string(block)
}

func mayDeclare(content []byte) bool {
	return bytes.Contains(content, []byte("backend")) || bytes.Contains(content, []byte("cloud")) || bytes.Contains(content, []byte("state_store"))
}

func overrides(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	return base == "override" || strings.HasSuffix(base, "_override")
}

func boolInt(is bool) int {
	if is {
		return 1
	}
	return 0
}

// declaredInHCL finds the block in a file. Of one that cannot be read, all of it stands
// for the block.
func declaredInHCL(content []byte) (kind string, block []byte) {
	file, diags := hclsyntax.ParseConfig(content, "", hcl.InitialPos)
	if diags.HasErrors() {
		return "unknown", content
	}
	for _, outer := range file.Body.(*hclsyntax.Body).Blocks {
		if outer.Type != "terraform" {
			continue
		}
		for _, inner := range outer.Body.Blocks {
			switch {
			case (inner.Type == "backend" || inner.Type == "state_store") && len(inner.Labels) > 0:
				kind = inner.Labels[0]
			case inner.Type == "cloud":
				kind = "cloud"
			default:
				continue
			}
			block = append(block, fmt.Sprintf("%q", kind)...)
			at := inner.Range()
			at.End = inner.CloseBraceRange.End
			source := at.SliceBytes(content)
			block = append(block, plainTokens(source, shift(secretSettingsIn(inner.Body), at.Start.Byte))...)
		}
	}
	return kind, block
}

// secretSettingsIn are the places of the values of secret settings.
func secretSettingsIn(body *hclsyntax.Body) (secrets []hcl.Range) {
	for _, attr := range body.Attributes {
		if secretSetting(attr.Name) {
			secrets = append(secrets, attr.Expr.Range())
		} else {
			secrets = append(secrets, secretsIn(attr.Expr)...)
		}
	}
	for _, block := range body.Blocks {
		secrets = append(secrets, secretSettingsIn(block.Body)...)
	}
	return secrets
}

func shift(ranges []hcl.Range, by int) []hcl.Range {
	for i := range ranges {
		ranges[i].Start.Byte -= by
		ranges[i].End.Byte -= by
	}
	return ranges
}

// declaredInJSON finds the block in Terraform's JSON syntax, in which a list of blocks may
// stand for a block.
func declaredInJSON(content []byte) (kind string, block []byte) {
	var top any
	if json.Unmarshal(content, &top) != nil {
		return "unknown", content
	}
	for _, outer := range blocksIn(top, "terraform") {
		for _, cloud := range blocksIn(outer, "cloud") {
			kind = "cloud"
			block = append(block, jsonBlock(kind, cloud)...)
		}
		for _, name := range []string{"backend", "state_store"} {
			for _, labels := range blocksIn(outer, name) {
				object, _ := labels.(map[string]any)
				for label, body := range object {
					kind = label
					block = append(block, jsonBlock(kind, body)...)
				}
			}
		}
	}
	return kind, block
}

func jsonBlock(kind string, body any) []byte {
	text, _ := json.Marshal(withoutSecrets(body, secretSetting))
	return fmt.Appendf(nil, "%q%s", kind, text)
}

func blocksIn(value any, name string) (found []any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			found = append(found, blocksIn(item, name)...)
		}
	case map[string]any:
		inner, has := v[name]
		if list, is := inner.([]any); is {
			return list
		}
		if has && inner != nil {
			found = append(found, inner)
		}
	}
	return found
}
