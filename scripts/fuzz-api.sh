#!/usr/bin/env bash
# Asks a node whatever its description of /api allows, and what it does not: no answer may be an error of ours, or one that the
# description does not have. Needs python3 with venv; installs schemathesis below target/ at the first time.
#
#   scripts/fuzz-api.sh [URL of a PostgreSQL database that is empty]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSION=4.32.5
readonly PLACE=${CARGO_TARGET_DIR:-target}/fuzz-api
# So many requests of each kind to each operation; all of it takes less than a minute on an idle machine.
readonly EXAMPLES=${EXAMPLES:-10}

mkdir -p "$PLACE"
if [ ! -x "$PLACE/venv/bin/schemathesis" ] || [ "$(cat "$PLACE/version" 2>/dev/null)" != "$VERSION" ]; then
  python3 -m venv "$PLACE/venv"
  "$PLACE/venv/bin/pip" install --quiet "schemathesis==$VERSION"
  echo "$VERSION" >"$PLACE/version"
fi

base=$(mktemp -d)
node=
finish() {
  [ -z "$node" ] || kill "$node" 2>/dev/null || true
  rm -rf "$base"
}
trap finish EXIT

token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
hash=$(printf %s "$token" | sha256sum | cut -d ' ' -f 1)
cat >"$base/node.toml" <<CONFIG
[node]
name = "fuzz-api"
dir = "$base/record"
listen = "127.0.0.1:0"
[auth]
mode = "tokens"
read = "token"
tokens = ["fuzz@example.org operator $hash"]
[database]
url = "${1:-sqlite:segvault.db}"
CONFIG
"${CARGO_TARGET_DIR:-target}/debug/segvault" run --config "$base/node.toml" 2>"$base/log" &
node=$!
address=
for _ in $(seq 300); do
  address=$(head -n 1 "$base/record/.segvault/listen" 2>/dev/null || true)
  [ -z "$address" ] || break
  sleep 0.1
done
if [ -z "$address" ]; then
  cat "$base/log" >&2
  exit 1
fi
# The stream of changes has no end. That what fits the schema is taken, and what does not is refused, is not asked: an event that
# is to be cut takes fields together, times have more rules than a schema says, and no body is an empty one.
# What it remembers of a run, it writes where it stands.
if ! (cd "$PLACE" && venv/bin/schemathesis run "http://$address/api/openapi.json" -H "Authorization: Bearer $token" \
  --exclude-path /api/v1/events/stream --max-examples "$EXAMPLES" --request-timeout 20 --continue-on-failure \
  --exclude-checks positive_data_acceptance,negative_data_rejection --no-color); then
  tail -n 20 "$base/log" >&2
  exit 1
fi
if grep -q panicked "$base/log"; then
  cat "$base/log" >&2
  exit 1
fi
