package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A pipeline takes the release that wrote it; what is no release takes the latest.
func TestReleaseTag(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v1.2.3":                             "v1.2.3",
		"v1.2.3+dirty":                       "main",
		"v1.2.3-rc.1":                        "main",
		"v0.0.0-20261130032403-f5644507c880": "main",
		"(devel)":                            "main",
	} {
		if got := releaseTag(version); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

// All that names a release of tmnotes for a pipeline names the same one, and nothing has a pipeline compile it.
// (scripts/release wants it to be the one that is released.)
func TestOneReleaseInPipelines(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`(?m)tmnotes/scripts/ci(?:/setup)?@(\S+)|/tmnotes/tmnotes/([^/]+)/scripts/ci|^      default: (v.*)|^    default: (v.*)`)
	releases := map[string][]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range named.FindAllStringSubmatch(string(text), -1) {
			release := strings.Join(found[1:], "")
			releases[release] = append(releases[release], path)
		}
		if strings.HasSuffix(path, ".yml") && strings.Contains(string(text), "run: go install") {
			t.Errorf("%s compiles tmnotes", path)
		}
	}
	err := filepath.WalkDir(filepath.Join(top, "scripts", "ci"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents(t) {
		read(d.path)
	}
	if len(releases) != 1 {
		t.Errorf("there are several releases: %v", releases)
	}
	for release, files := range releases {
		if distinct := slices.Compact(slices.Sorted(slices.Values(files))); releaseTag(release) != release || len(distinct) < 9 {
			t.Errorf("%s is named by %v", release, distinct)
		}
	}
}

// GitLab's component installs a release as the action for GitHub does.
func TestComponentInstallsAsTheAction(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(top, "scripts", "ci", "setup", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	lines := regexp.MustCompile(`(?m)^(.)`).ReplaceAllString(read("install.sh"), "        $1")
	if !strings.Contains(read("gitlab.yml"), "tmnotes_install() (\n"+lines+"      )\n") {
		t.Error("gitlab.yml does not have the lines of install.sh, each with eight spaces before it")
	}
}
