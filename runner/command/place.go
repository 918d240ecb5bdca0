package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Place is what Terraform would write to, as far as it can be seen: a workspace and a
// backend, as they stand in the folder where it keeps its data.
type Place struct {
	Workspace string // "" is the default one
	// Backend is "type.resolved.declared": 8 hex digits of its configuration, secrets left
	// out, and 4 of how the code declares it; "local.0000" where none is configured, and the
	// state is a file in the stack's folder; "" where it is not known.
	Backend string
	// Of a new clone either may be unknown: what is there is said by init.
	HasWorkspace, HasBackend bool

	code  []string // folders with the code
	files []fileState
}

// fileState is where a local backend keeps its states: a folder that the paths are seen from, the default
// workspace's file, and the folder of those of the others.
type fileState struct{ dir, path, workspaces string }

// StateFiles are the files that the state is in, where that is known to be in files.
func (p Place) StateFiles() (files []string) {
	for _, f := range p.files {
		path := f.path
		if p.Workspace != "" {
			path = filepath.Join(f.workspaces, p.Workspace, "terraform.tfstate")
		}
		files = append(files, within(f.dir, path))
	}
	return files
}

// errState is a file in Terraform's data directory that cannot be understood.
var errState = errors.New("not understood; remove the file and run terraform init")

// Known says that nothing of the place is left open.
func (p Place) Known() bool { return p.HasWorkspace && p.HasBackend }

// placeVariables are the variables that say where things are, or stand in for settings of
// a backend that are not there (backendVariables).
var placeVariables = []string{"TF_WORKSPACE", "TF_DATA_DIR", "TG_DOWNLOAD_DIR", "TERRAGRUNT_DOWNLOAD", "TG_WORKING_DIR",
	"TERRAGRUNT_WORKING_DIR", "TF_HTTP_ADDRESS", "PG_SCHEMA_NAME", "CONSUL_HTTP_ADDR", "TF_CLOUD_ORGANIZATION", "TF_CLOUD_HOSTNAME"}

// backendVariables are read at every run where a backend's own setting is not there
// (developer.hashicorp.com/terraform/language/backend/http, /pg, /consul; /terraform/cli/cloud/settings).
var backendVariables = map[string]map[string]string{
	"http":   {"address": "TF_HTTP_ADDRESS"},
	"pg":     {"schema_name": "PG_SCHEMA_NAME"},
	"consul": {"address": "CONSUL_HTTP_ADDR"},
	"cloud":  {"organization": "TF_CLOUD_ORGANIZATION", "hostname": "TF_CLOUD_HOSTNAME"},
}

// secretSettings are the settings of backends that are secret, or that only say who asks
// (developer.hashicorp.com/terraform/language/backend, by backend).
var secretSettings = set(`
	access_key secret_key token sse_customer_key external_id session_name
	sas_token client_id client_secret client_certificate client_certificate_password oidc_token oidc_request_token
	credentials access_token encryption_key
	password username client_certificate_pem client_private_key_pem client_ca_certificate_pem
	http_auth cert_file key_file ca_file
	client_key cluster_ca_certificate exec
	security_token secret_id sts_endpoint
	private_key private_key_password private_key_path fingerprint user_ocid`)

// openSettings only look secret: they say where the state is.
var openSettings = set(`key workspace_key_prefix key_prefix kms_key_id`)

func secretSetting(name string) bool {
	return secretSettings[name] || LooksSecret(name) && !openSettings[name]
}

// place is where an operation's commands would write to.
func (r *Reader) place(op Operation, dir string, vars map[string]string) (place Place, err error) {
	workspace := vars["TF_WORKSPACE"]
	if dir == "" {
		place.Workspace, place.HasWorkspace = workspace, workspace != ""
		return place.inDefault(), nil
	}
	var all []Place
	for _, chdir := range op.chdirs() {
		one, err := r.placeIn(op, within(dir, chdir), vars)
		if err != nil {
			return Place{}, err
		}
		switch {
		case workspace != "":
			one.Workspace, one.HasWorkspace = workspace, true
		case op.selects != "":
			one.Workspace, one.HasWorkspace = op.selects, true
		}
		one.HasBackend = one.HasBackend && !op.Chooses
		all = append(all, one.inDefault())
	}
	if place = all[0]; len(all) > 1 {
		place = joinPlaces(all)
	}
	return place, nil
}

// inDefault has the default workspace by one name.
func (p Place) inDefault() Place {
	if p.Workspace == "default" {
		p.Workspace = ""
	}
	return p
}

// joinPlaces is the place of commands that work in several folders.
func joinPlaces(all []Place) Place {
	place := Place{Workspace: all[0].Workspace, HasWorkspace: true, HasBackend: true}
	var parts, declared []string
	for _, one := range all {
		place.HasWorkspace = place.HasWorkspace && one.HasWorkspace
		place.HasBackend = place.HasBackend && one.HasBackend
		if one.Workspace != place.Workspace {
			place.Workspace = ""
		}
		parts = append(parts, one.Workspace, one.Backend)
		_, last, _ := cutLast(one.Backend, ".")
		declared = append(declared, last)
		place.code, place.files = append(place.code, one.code...), append(place.files, one.files...)
	}
	if strings.Join(parts, "") != "" {
		place.Backend = "several." + digest(parts) + "." + digest(declared)[:4]
	}
	return place
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// placeIn reads the place of one working directory.
func (r *Reader) placeIn(op Operation, dir string, vars map[string]string) (place Place, err error) {
	place.code = []string{dir}
	data := vars["TF_DATA_DIR"]
	if data == "" {
		data = ".terraform"
	}
	at := dir
	if _, err := os.Stat(within(at, data)); err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !isNotDir(err) {
			return place, err
		}
		if at, err = terragruntDir(op, dir, data, vars); err != nil || at == "" {
			if err == nil && op.terraform {
				err = r.untouched(&place, dir)
			}
			return place, err
		}
	}
	workspace, err := os.ReadFile(filepath.Join(within(at, data), "environment"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return place, err
	}
	place.Workspace, place.HasWorkspace = strings.TrimSpace(string(workspace)), true
	state, err := os.ReadFile(filepath.Join(within(at, data), "terraform.tfstate"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return place, err
	}
	declared, err := r.declared(dir)
	if err != nil {
		return place, err
	}
	of, err := configuredIn(state)
	if err == nil {
		place.Backend, err = r.backend(of, declared, vars)
	}
	if err != nil {
		return place, fmt.Errorf("%s: %w", filepath.Join(within(at, data), "terraform.tfstate"), err)
	}
	place.HasBackend = place.Backend != "" || declared.kind == ""
	if of != nil && of.Type == "local" {
		path, _ := of.Config["path"].(string)
		workspaces, _ := of.Config["workspace_dir"].(string)
		place.files = []fileState{{at, cmp.Or(path, "terraform.tfstate"), cmp.Or(workspaces, "terraform.tfstate.d")}}
	}
	return place.beside(at), nil
}

// beside has the state that no backend is configured for be known as such: what was
// recorded before a backend was configured was not recorded there.
func (p Place) beside(dir string) Place {
	if p.HasBackend && p.Backend == "" {
		p.Backend = besideCode
		p.files = []fileState{{dir, "terraform.tfstate", "terraform.tfstate.d"}}
	}
	return p
}

// besideCode ends as the code that declares no backend does (declaration.digest).
const besideCode = "local." + undeclared

// untouched is the place of a folder in which Terraform keeps nothing yet. It works in the
// default workspace there, with the state beside the code, where that names nothing else.
func (r *Reader) untouched(place *Place, dir string) error {
	declared, err := r.declared(dir)
	place.HasBackend = err == nil && declared.kind == ""
	place.HasWorkspace = err == nil && declared.kind != "cloud" && declared.kind != "remote"
	*place = place.beside(dir)
	return err
}

// configured is a backend as Terraform keeps it in its data directory.
type configured struct {
	Type   string
	Config map[string]any
}

// configuredIn is that of a data directory's terraform.tfstate, nil where that names none.
func configuredIn(state []byte) (*configured, error) {
	var file struct {
		Backend    *configured `json:"backend"`
		StateStore *configured `json:"state_store"`
	}
	if len(state) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(state, &file); err != nil {
		return nil, errState
	}
	return cmp.Or(file.Backend, file.StateStore), nil
}

// backend is its name in records.
func (r *Reader) backend(of *configured, declared declaration, vars map[string]string) (string, error) {
	if of == nil {
		return "", nil
	}
	settings := of.Config
	if settings == nil {
		settings = map[string]any{}
	}
	for setting, variable := range backendVariables[of.Type] {
		if settings[setting] == nil && vars[variable] != "" {
			settings[setting] = vars[variable]
		}
	}
	if connection, is := settings["conn_str"].(string); is {
		settings["conn_str"] = withoutPassword(connection)
	}
	resolved, err := json.Marshal(withoutSecrets(settings, secretSetting))
	if err != nil {
		return "", err
	}
	return of.Type + "." + shortDigest([]byte(of.Type+"\x00"+r.portable(string(resolved))), 8) + "." + declared.digest, nil
}

var passwordPair = regexp.MustCompile(`(?i)(^|[?&\s])(password|user)\s*=\s*('[^']*'|[^&\s]*)`)

// withoutPassword is a PostgreSQL connection string, a URL or pairs, without who asks.
func withoutPassword(connection string) string {
	if u, err := url.Parse(connection); err == nil && u.Host != "" {
		u.User = nil
		connection = u.String()
	}
	return passwordPair.ReplaceAllString(connection, "$1")
}

// walkLimit is how many folders Terragrunt's cache is searched in.
const walkLimit = 5000

// terragruntDir is the one folder below Terragrunt's cache of a unit in which Terraform has
// its data, "" where there is none, or several.
func terragruntDir(op Operation, dir, data string, vars map[string]string) (string, error) {
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	if filepath.IsAbs(data) {
		return "", nil
	}
	unit := within(dir, first(op.terragrunt.workingDir, vars["TG_WORKING_DIR"], vars["TERRAGRUNT_WORKING_DIR"]))
	if unit != dir {
		if _, err := os.Stat(filepath.Join(unit, data)); err == nil {
			return unit, nil
		}
	}
	cache := within(unit, first(op.terragrunt.downloadDir, vars["TG_DOWNLOAD_DIR"], vars["TERRAGRUNT_DOWNLOAD"], ".terragrunt-cache"))
	if _, err := os.Stat(cache); err != nil {
		return "", nil
	}
	var found []string
	seen := 0
	err := filepath.WalkDir(cache, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return nil
		case seen > walkLimit:
			return fs.SkipAll
		}
		seen++
		if entry.Name() == filepath.Base(data) && strings.HasSuffix(path, string(filepath.Separator)+filepath.Clean(data)) {
			found = append(found, strings.TrimSuffix(path, string(filepath.Separator)+filepath.Clean(data)))
			return fs.SkipDir
		}
		if entry.Name() == ".git" || entry.Name() == ".terraform" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil || len(found) != 1 || seen > walkLimit {
		return "", err
	}
	return found[0], nil
}

// Declared is the last part of Place.Backend as the code has it now, where the rest is not
// known: a place that was recorded may be this one if it ends so.
func (r *Reader) Declared(p Place) (string, error) {
	var all []string
	for _, dir := range p.code {
		declared, err := r.declared(dir)
		if err != nil {
			return "", err
		}
		all = append(all, declared.digest)
	}
	switch len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0], nil
	}
	return digest(all)[:4], nil
}

// chdirs are the folders that an operation's commands work in, as seen from the stack.
func (op Operation) chdirs() []string {
	if len(op.dirs) == 0 {
		return []string{""}
	}
	dirs := slices.Clone(op.dirs)
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
