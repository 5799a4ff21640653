#!/usr/bin/env bash
# Installs what building, the demo or the tests need and this machine lacks. Asks nothing; touches nothing that is there.
#
#   scripts/deps.sh build|demo|test
#
# Exit: 0 all is there; 1 something is missing and cannot be installed from here (what to do is printed).
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
# As a program of its own: bash has a kill, tests need one that they can start.
has() { type -P "$1" >/dev/null; }

# cargo, in the version that Cargo.toml asks for. With rustup, rust-toolchain.toml fetches it by itself.
check_rust() {
  if ! has cargo; then
    say "cargo is missing: install Rust as https://rustup.rs says, then try again."
    return 1
  fi
  local wanted version
  wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
  if ! version=$(cargo --version); then
    say "cargo does not start (see above); the toolchain of rust-toolchain.toml may have to be downloaded first:"
    say "    rustup toolchain install"
    return 1
  fi
  version=$(printf '%s\n' "$version" | awk '{print $2}')
  if [ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1)" != "$wanted" ]; then
    say "cargo is $version, segvault needs $wanted or later: rustup update, or install Rust as https://rustup.rs says."
    return 1
  fi
}

# As Debian installs it: the server's programs are not in PATH. Tests start servers of their own.
has_postgres() {
  has postgres && return
  local found
  found=$(find /usr/lib/postgresql -maxdepth 3 -path '*/bin/postgres' -print -quit 2>/dev/null || true)
  [ -n "$found" ]
}

# A real player is tested in it.
has_browser() {
  has chromium || has chromium-browser || has google-chrome
}

# Steps the clocks of nodes under test.
has_clock_library() {
  [ -n "$(find /usr/lib -maxdepth 4 -name libfaketimeMT.so.1 -print -quit 2>/dev/null)" ]
}

# The S3-compatible store that uploads are tested with: a Python program in an environment of its own, below target/.
readonly STORE="${CARGO_TARGET_DIR:-target}/s3-store"
readonly STORE_NEEDS=tests/it/uploads/requirements.txt

has_store() {
  cmp -s "$STORE/installed" "$STORE_NEEDS"
}

install_store() {
  say "Installing: the S3-compatible store of $STORE_NEEDS, into $STORE"
  rm -rf "$STORE"
  python3 -m venv "$STORE" || return
  "$STORE/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$STORE_NEEDS" </dev/null || return
  # Last: what is there is whole.
  cp "$STORE_NEEDS" "$STORE/installed"
}

has_venv() {
  has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null
}

packages_for() {
  # SQLite, libpq and ring are compiled from C.
  has cc || echo gcc libc6-dev
  [ "$1" = build ] && return
  { has ffmpeg && has ffprobe; } || echo ffmpeg
  [ "$1" = demo ] && return
  has_postgres || echo postgresql
  has_browser || echo chromium
  has kill || echo procps
  has openssl || echo openssl
  has_clock_library || echo libfaketime
  has_store || has_venv || echo python3-venv
}

as_root() {
  if [ "$(id -u)" = 0 ]; then env "$@"; else sudo -n env "$@"; fi
}

apt_install() {
  as_root DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null
}

readonly CLUSTERS=/etc/postgresql-common/createcluster.conf

# Debian's server package makes a cluster and starts it, which nobody asked for: only its programs are wanted.
# Where PostgreSQL's own settings are there already, they are the owner's and stay as they are.
install_postgres() {
  if [ -e "$CLUSTERS" ]; then
    apt_install postgresql
    return
  fi
  # `|| return`: a function that is called in a condition does not stop by itself.
  apt_install postgresql-common || return
  as_root sed -i.segvault '$ a create_main_cluster = false' "$CLUSTERS" || return
  local status=0
  apt_install postgresql || status=$?
  as_root mv "$CLUSTERS.segvault" "$CLUSTERS"
  return "$status"
}

install() {
  local packages=("$@")
  if ! has apt-get; then
    say "Missing: ${packages[*]} (Debian's names). There is no apt-get here: install them with your package manager."
    return 1
  fi
  if [ "$(id -u)" != 0 ] && ! { has sudo && sudo -n true 2>/dev/null; }; then
    say "Missing: ${packages[*]}. Installing them takes root, and sudo would have to ask. Run this once, then try again:"
    say "    sudo apt-get install --no-install-recommends ${packages[*]}"
    return 1
  fi
  say "Installing: ${packages[*]}"
  # Without a network the lists on disk may still do.
  as_root DEBIAN_FRONTEND=noninteractive apt-get update </dev/null || say "The package lists could not be refreshed."
  local package
  for package in "${packages[@]}"; do
    case $package in
      postgresql) install_postgres ;;
      # The second is Ubuntu's name for it.
      chromium) apt_install chromium || apt_install chromium-browser ;;
      *) apt_install "$package" ;;
    esac || { say "$package could not be installed (see above)."; return 1; }
  done
}

case "${1:-}" in
  build | demo | test) ;;
  *) say "usage: scripts/deps.sh build|demo|test"; exit 64 ;;
esac

check_rust
read -r -a missing <<<"$(packages_for "$1" | tr '\n' ' ')"
if [ "${#missing[@]}" -gt 0 ]; then
  install "${missing[@]}"
fi
if [ "$1" = test ] && ! has_store; then
  install_store || { say "The S3-compatible store could not be installed (see above)."; exit 1; }
fi
