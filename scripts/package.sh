#!/usr/bin/env bash
# Packs a built program with its manual pages, completions, unit and licences: NAME.tar.gz and its checksum.
#
#   scripts/package.sh PROGRAM NAME
set -euo pipefail

[ $# = 2 ] || { printf 'usage: scripts/package.sh PROGRAM NAME\n' >&2; exit 64; }
program=$(realpath "$1")
name=$2
here=$(pwd)
cd "$(dirname "$0")/.."

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
root=$tree/$name
install -D -m 755 "$program" "$root/bin/segvault"
"$program" man "$root/share/man/man1"
mkdir -p "$root/share/bash-completion/completions" "$root/share/zsh/site-functions" "$root/share/fish/vendor_completions.d"
"$program" completions bash >"$root/share/bash-completion/completions/segvault"
"$program" completions zsh >"$root/share/zsh/site-functions/_segvault"
"$program" completions fish >"$root/share/fish/vendor_completions.d/segvault.fish"
install -D -m 644 -t "$root/share/doc/segvault" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT docs/*.md docs/segvault.sample.toml
install -D -m 644 -t "$root/lib/systemd/system" deploy/systemd/segvault.service

cd "$here"
# The same content gives the same archive.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2000-01-01 00:00:00 UTC' -C "$tree" -cf - "$name" | gzip -9n >"$name.tar.gz"
sha256sum "$name.tar.gz" >"$name.tar.gz.sha256"
