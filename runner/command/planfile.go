package command

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"

	"google.golang.org/protobuf/encoding/protowire"
)

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// planDigest stands for what a saved plan was made with: its variables. Two plans of one
// commit with the same variables are one deployment, though the files differ. What is
// not understood stands for itself.
//
// The form is Terraform's and OpenTofu's (internal/plans/planproto/planfile.proto): a zip
// archive, in which tfplan is a message whose field 2 are the variables.
func planDigest(path string) (string, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		content, err := os.ReadFile(path)
		return shortDigest(content, 6), err
	}
	defer archive.Close()
	plan, err := archive.Open("tfplan")
	if err != nil {
		content, err := os.ReadFile(path)
		return shortDigest(content, 6), err
	}
	defer plan.Close()
	message, err := io.ReadAll(plan)
	if err != nil {
		return "", err
	}
	variables, ok := planVariables(message)
	if !ok {
		return shortDigest(message, 6), nil
	}
	return digest(variables)[:6], nil
}

// planVariables are the variables in a plan that are not secret, sorted.
func planVariables(message []byte) (variables []string, ok bool) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return nil, false
		}
		message = message[size:]
		if number != 2 || kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(number, kind, message); size < 0 {
				return nil, false
			}
			message = message[size:]
			continue
		}
		entry, size := protowire.ConsumeBytes(message)
		if size < 0 {
			return nil, false
		}
		message = message[size:]
		name, ok := entryName(entry)
		if !ok {
			return nil, false
		}
		if secretName(name) {
			variables = append(variables, name)
		} else {
			variables = append(variables, string(entry))
		}
	}
	slices.Sort(variables)
	return variables, true
}

// entryName is the key of an entry of a map: field 1.
func entryName(entry []byte) (string, bool) {
	number, kind, size := protowire.ConsumeTag(entry)
	if size < 0 || number != 1 || kind != protowire.BytesType {
		return "", false
	}
	name, size := protowire.ConsumeString(entry[size:])
	return name, size >= 0
}
