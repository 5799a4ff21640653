#!/bin/sh
# Beside a Cargo.toml, makes an empty program of the same name and with the same targets: built, it is all dependencies and
# nothing else, a layer that changes only when they do.
#
#   stub.sh DIR
set -eu
cd "$1"
mkdir -p src benches
printf 'fn main() {}\n' >src/main.rs
: >src/lib.rs
# Cargo wants a file for each bench that is named.
sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"$/\1/p' Cargo.toml | while read -r bench; do
  printf 'fn main() {}\n' >"benches/$bench.rs"
done
