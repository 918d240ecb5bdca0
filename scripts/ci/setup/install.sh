#!/bin/sh
# Downloads a release of tmnotes, verifies it, and installs it into a folder:
#
#     install.sh VERSION DIR
#
# VERSION is a tag such as v1.2.3, or latest. TMNOTES_RELEASES is where releases are, if not on GitHub: a mirror,
# which has the same files. The checksum is always compared; who built it is verified where gh (GitHub's CLI, with a
# token) or cosign is there.
set -eu
version=${1:?which version?} dir=${2:?into which folder?}
releases=${TMNOTES_RELEASES:-https://github.com/tmnotes/tmnotes/releases}
fail() { printf 'tmnotes: %s\n' "$*" >&2; exit 1; }

case $(uname -s) in
Linux) os=linux ;;
Darwin) os=darwin ;;
MINGW* | MSYS* | CYGWIN*) os=windows ;;
*) fail "there is no release for $(uname -s); build it with: go install github.com/tmnotes/tmnotes@$version" ;;
esac
case $(uname -m) in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) fail "there is no release for $(uname -m); build it with: go install github.com/tmnotes/tmnotes@$version" ;;
esac
program=tmnotes archive=tmnotes_${os}_$arch.tar.gz
[ $os != windows ] || program=tmnotes.exe archive=tmnotes_${os}_$arch.zip

case $version in
latest) from=$releases/latest/download ;;
v[0-9]*) from=$releases/download/$version ;;
*) fail "\"$version\" is not a version; write v1.2.3, or latest" ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
download() {
	# Many images have no curl, and busybox's wget.
	if command -v curl >/dev/null; then
		curl -fsSL --retry 3 --proto '=https,http,file' -o "$work/$1" "$from/$1"
	else
		wget -q -O "$work/$1" "$from/$1"
	fi || fail "$from/$1 cannot be downloaded"
}
download checksums.txt
download "$archive"

want=$(awk -v file="$archive" '$2 == file { print $1 }' "$work/checksums.txt")
[ -n "$want" ] || fail "checksums.txt does not name $archive"
if command -v sha256sum >/dev/null; then got=$(sha256sum "$work/$archive"); else got=$(shasum -a 256 "$work/$archive"); fi
[ "${got%% *}" = "$want" ] || fail "$archive is not what was released: its SHA-256 is ${got%% *}, not $want"

if [ -n "${TMNOTES_RELEASES:-}" ]; then
	: # a mirror's to verify
elif [ -n "${GH_TOKEN:-${GITHUB_TOKEN:-}}" ] && gh attestation verify --help >/dev/null 2>&1; then
	gh attestation verify "$work/$archive" --hostname github.com --repo tmnotes/tmnotes --signer-workflow tmnotes/tmnotes/.github/workflows/release.yml >/dev/null ||
		fail "$archive was not built by the release workflow of tmnotes/tmnotes"
elif command -v cosign >/dev/null; then
	download checksums.txt.sigstore.json
	cosign verify-blob --bundle "$work/checksums.txt.sigstore.json" --certificate-oidc-issuer https://token.actions.githubusercontent.com \
		--certificate-identity-regexp '^https://github.com/tmnotes/tmnotes/\.github/workflows/release\.yml@refs/tags/v' "$work/checksums.txt" 2>/dev/null ||
		fail "checksums.txt was not signed by the release workflow of tmnotes/tmnotes"
fi

mkdir -p "$dir"
case $archive in
*.zip) unzip -qo "$work/$archive" "$program" -d "$work" ;;
*) tar -xzf "$work/$archive" -C "$work" "$program" ;;
esac
mv "$work/$program" "$dir/$program.$$"
mv "$dir/$program.$$" "$dir/$program" # whole or not at all
