#!/usr/bin/env bash
# Renders every overlay and checks it against the API schemas of recent Kubernetes versions. Needs no cluster.
#
# Where kubectl or kubernetes-validate is missing it says so and skips; with KUBERNETES_REQUIRED=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSIONS=(1.35 1.36 1.37)

say() { printf '%s\n' "$*" >&2; }

if ! type -P kubectl >/dev/null || ! type -P kubernetes-validate >/dev/null; then
  say "Not checked: deploy/k8s. It takes kubectl and kubernetes-validate (pip install kubernetes-validate)."
  exit "${KUBERNETES_REQUIRED:-0}"
fi

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
failed=0
for overlay in deploy/k8s/overlays/*/; do
  name=$(basename "$overlay")
  kubectl kustomize "$overlay" >"$rendered/$name.yaml"
  # What the operator of Prometheus adds is no part of Kubernetes' own schemas.
  for version in "${VERSIONS[@]}"; do
    if ! kubernetes-validate -k "$version" --strict "$rendered/$name.yaml" >"$rendered/log" 2>&1; then
      cat "$rendered/log" >&2
      say "$name does not fit Kubernetes $version."
      failed=1
    fi
  done
  # A selector that selects nothing in particular selects everything.
  if grep -nE '^ *(podS|s)elector: \{\}' "$rendered/$name.yaml" >&2; then
    say "$name: an object selects every pod."
    failed=1
  fi
done
exit "$failed"
