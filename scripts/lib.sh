# Shared by demo, test and bench: sourced, not run. Bash 3.2 (macOS) is enough.
# shellcheck shell=bash

# The OpenTofu that is built where neither terraform nor tofu is installed.
opentofu_version=v1.12.6

say() { printf '%s\n' "$*"; }

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# need NAME...: these programs must be there.
need() {
	local name
	for name in "$@"; do
		command -v "$name" >/dev/null 2>&1 || die "$name is not in PATH; install it and run this again"
	done
}

# need_home: Go wants a place for its caches, also where HOME is not set (some CI
# runners). $1 is a folder that the caller removes.
need_home() {
	if [ -z "${HOME:-}" ]; then
		export HOME="$1" GOFLAGS="${GOFLAGS:-} -modcacherw"
	fi
}

# find_terraform: sets terraform to the path of terraform, of tofu, or of an
# OpenTofu that it builds once, into the user's cache.
find_terraform() {
	local name cache
	for name in terraform tofu; do
		if terraform=$(command -v "$name"); then
			return
		fi
	done
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/tmnotes/opentofu-$opentofu_version
	terraform=$cache/tofu
	if [ ! -x "$terraform" ]; then
		build_opentofu "$cache"
	fi
}

# build_opentofu DIR builds DIR/tofu from its module. `go install` will not do it:
# its go.mod has a replace directive. The module cache cannot be written, and
# need not be.
build_opentofu() {
	local module source
	say "neither terraform nor tofu is in PATH: building OpenTofu $opentofu_version (once, some minutes) into $1" >&2
	mkdir -p "$1"
	# Not in our own module, whose go.mod is not concerned.
	module=$(cd "$1" && GOWORK=off go mod download -json "github.com/opentofu/opentofu@$opentofu_version") ||
		die "OpenTofu could not be downloaded; install terraform or tofu: $module"
	source=$(printf '%s\n' "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
	(cd "$source" && GOWORK=off go build -buildvcs=false -ldflags='-s -w' -o "$1/tofu.$$" ./cmd/tofu) ||
		die "OpenTofu could not be built; install terraform or tofu"
	mv "$1/tofu.$$" "$1/tofu" # whole or not at all, also for another who builds it now
}

# find_chromium: sets chromium to the path of a browser for the tests of pages. As
# root on Debian and its like it installs one, elsewhere it says how to get one.
find_chromium() {
	local name
	for name in chromium chromium-browser google-chrome; do
		if chromium=$(command -v "$name"); then
			return
		fi
	done
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		say "no chromium in PATH: installing it (once, some minutes)" >&2
		if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null &&
			chromium=$(command -v chromium); then
			return
		fi
	fi
	die "the pages are tested in a real browser, and no chromium is in PATH; install it (apt install chromium, dnf install chromium, brew install --cask chromium) and run this again"
}

# find_xmllint sees to it that xmllint, which holds JUnit reports against their schema,
# is there.
find_xmllint() {
	if ! command -v xmllint >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libxml2-utils >/dev/null
	fi
	command -v xmllint >/dev/null || die "xmllint validates the JUnit reports, and is not in PATH; install it (apt install libxml2-utils, dnf install libxml2, brew install libxml2) and run this again"
}

# find_optional PROGRAM:PACKAGE... installs the programs that are missing, where it can; the
# tests that use one which is missing all the same are skipped.
find_optional() {
	local pair missing=()
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
	done
	if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || true
	fi
	for pair in "$@"; do
		command -v "${pair%%:*}" >/dev/null || say "${pair%%:*} is not in PATH: tests that use it are skipped"
	done
}

# The forge that tests comment on: a real Gitea, which is not packaged for Debian.
gitea_version=v1.26.0

# gitea_cache prints where find_gitea builds it.
gitea_cache() { say "${XDG_CACHE_HOME:-$HOME/.cache}/tmnotes/gitea-$gitea_version"; }

# find_gitea: sets gitea to the path of Gitea (code.gitea.io/gitea), which it builds once.
find_gitea() {
	local cache
	cache=$(gitea_cache)
	gitea=$cache/gitea
	if [ ! -x "$gitea" ]; then
		find_cc
		build_gitea "$cache"
	fi
}

# build_gitea DIR builds DIR/gitea from its module, with SQLite, and copies what it reads besides into DIR/static. The
# pages' scripts, which the module lacks, are not needed for the API.
build_gitea() {
	local module source work=$1.$$
	say "building Gitea $gitea_version (once, five minutes of a processor) into $1" >&2
	mkdir -p "$work/static"
	# Not in our own module, whose go.mod is not concerned.
	module=$(cd "$work" && GOWORK=off go mod download -json "code.gitea.io/gitea@$gitea_version") || die "Gitea could not be downloaded: $module"
	source=$(printf '%s\n' "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
	cp -R "$source/templates" "$source/options" "$source/public" "$work/static"
	chmod -R u+w "$work/static"
	(cd "$source" && GOWORK=off CGO_ENABLED=1 go build -buildvcs=false -ldflags='-s -w' -tags 'sqlite sqlite_unlock_notify' -o "$work/gitea" .) || die "Gitea could not be built"
	rm -rf "$1"
	mv "$work" "$1" # whole or not at all, also for another who builds it now
}

# find_cc sees to it that there is a C compiler, for the race detector and for SQLite.
find_cc() {
	if command -v "$(go env CC | awk '{ print $1 }')" >/dev/null; then
		return
	fi
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null && return
	fi
	die "the race detector and Gitea need a C compiler; install one (gcc or clang) and run this again"
}

# find_wine PROGRAM: sets wine to PROGRAM if that is a Wine that runs programs of Go, else to "". Before version
# 10 it lacks what they need (ProcessPrng, and files that go when they are removed, though they are open).
find_wine() {
	local version
	wine=$1
	version=$("$wine" --version 2>/dev/null) || version=
	version=${version#wine-}
	[ "${version%%[!0-9]*}" -ge 10 ] 2>/dev/null || wine=
}

# The engines that run the files of scripts/ci; see scripts/engines.
act_version=v0.2.89
actionlint_version=v1.7.12
gitlab_ci_local_version=4.56.2

# find_act: sets act to the path of act (github.com/nektos/act), which it builds once.
find_act() {
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/tmnotes/act-$act_version-locked
	act=$cache/act
	if [ ! -x "$act" ]; then
		build_act "$cache"
	fi
}

# build_act DIR builds DIR/act from its module, but for one thing: the map behind --local-repository is read and
# written by all jobs at once, which ends act now and then with "concurrent map read and map write".
build_act() {
	local module source file=pkg/runner/local_repository_cache.go work=$1/new.$$
	say "building act $act_version (once, a minute) into $1" >&2
	mkdir -p "$work"
	# Not in our own module, whose go.mod is not concerned.
	module=$(cd "$work" && GOWORK=off go mod download -json "github.com/nektos/act@$act_version") || die "act could not be downloaded: $module"
	source=$(printf '%s\n' "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
	cp -R "$source" "$work/source"
	chmod -R u+w "$work/source"
	awk '
		/^import \(/ { print; print "\t\"sync\""; next }
		/^type LocalRepositoryCache struct/ { print "var localDirs sync.Map\n" }
		/l\.CacheDirCache\[.*\] = dest$/ { sub(/l\.CacheDirCache\[/, "localDirs.Store("); sub(/\] = dest$/, ", dest)"); stores++ }
		/if dest, ok := l\.CacheDirCache\[.*\]; ok {$/ {
			sub(/dest, ok := l\.CacheDirCache\[/, "known, ok := localDirs.Load("); sub(/\]; ok {$/, "); ok {")
			print; print "\t\tdest := known.(string)"; loads++; next
		}
		{ print }
		END { exit !(stores == 2 && loads == 1) }' "$source/$file" >"$work/source/$file" || die "act $act_version is not the one whose $file is mended here"
	(cd "$work/source" && GOWORK=off go build -buildvcs=false -ldflags='-s -w' -o "$work/act" .) || die "act could not be built"
	mv "$work/act" "$1/act" # whole or not at all, also for another who builds it now
	rm -rf "$work"
}

# find_gitlab_ci_local: sets gitlab_ci_local to the path of gitlab-ci-local, which it
# installs once, by npm. It needs Node.js, and rsync.
find_gitlab_ci_local() {
	local cache=${XDG_CACHE_HOME:-$HOME/.cache}/tmnotes/gitlab-ci-local-$gitlab_ci_local_version
	if ! command -v rsync >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -qq && apt-get install -y -qq rsync >/dev/null
	fi
	need node npm rsync
	gitlab_ci_local=$cache/node_modules/.bin/gitlab-ci-local
	if [ ! -x "$gitlab_ci_local" ]; then
		say "installing gitlab-ci-local $gitlab_ci_local_version (once) into $cache" >&2
		rm -rf "$cache.$$"
		npm install --silent --no-audit --no-fund --prefix "$cache.$$" "gitlab-ci-local@$gitlab_ci_local_version" || die "gitlab-ci-local could not be installed"
		mv "$cache.$$" "$cache"
	fi
}
