#!/usr/bin/env bash
# Checks the page's types and lints it, where Node is present. The tools are those of ui/package.json, and stay in the build
# directory; the page itself is built by nobody.
#
#   scripts/ui.sh
#
# Exit: 0 all is well, or there is no Node; 1 something was found, or the tools cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! type -P node >/dev/null || ! type -P npm >/dev/null; then
  echo 'node is not installed: the page was not checked'
  exit 0
fi
tools="${CARGO_TARGET_DIR:-target}/ui-tools"
mkdir -p "$tools"
if ! cmp -s ui/package-lock.json "$tools/package-lock.json" || [ ! -x "$tools/node_modules/.bin/tsc" ]; then
  cp ui/package.json ui/package-lock.json "$tools/"
  # What was only half fetched is fetched again.
  (cd "$tools" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || { rm -f "$tools/package-lock.json"; exit 1; }
fi
tools=$(cd "$tools" && pwd)
cd ui
"$tools/node_modules/.bin/tsc" -p .
"$tools/node_modules/.bin/eslint" --max-warnings 0 .
