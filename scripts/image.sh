#!/usr/bin/env bash
# Tries what the Dockerfile does, without an engine: the dependencies from the stub, the program from exactly the files that
# the engine is given, a Debian made a node's home by the same script, and then the node in it, as its user, with its root
# read-only: it starts, lives, records nothing that it was not told to, hides a segment by command and by touch, and stops.
#
# Takes root, debootstrap and a network; some minutes. PROFILE=dev builds faster.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf -- '--- %s\n' "$*" >&2; }
[ "$(id -u)" = 0 ] || { say "This makes a root directory, which takes root."; exit 1; }
type -P debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }

# Mounts of its own, gone with it.
[ -n "${IN_OWN_MOUNTS:-}" ] || IN_OWN_MOUNTS=1 exec unshare --mount -- bash scripts/image.sh

profile=${PROFILE:-dist}
built=$([ "$profile" = dev ] && echo debug || echo "$profile")
work=$(mktemp -d)
root=$work/root
node=
finish() {
  [ -z "$node" ] || kill "$node" 2>/dev/null || true
  wait
  umount -R "$root" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

say "the files that the engine is given"
mkdir "$work/build"
git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock LICENSE-APACHE LICENSE-MIT deploy/docker/assemble.sh \
  deploy/docker/stub.sh migrations src ui | xargs -0 cp --parents -t "$work/build"
export CARGO_TARGET_DIR=${IMAGE_TARGET_DIR:-$work/target}

say "dependencies, from the stub"
mkdir "$work/stub"
cp Cargo.toml Cargo.lock "$work/stub"
sh deploy/docker/stub.sh "$work/stub"
(cd "$work/stub" && cargo build --locked --profile "$profile")

say "the program"
(cd "$work/build" && find src -type f -exec touch {} + && cp -r "$work/stub/benches" . &&
  cargo build --locked --profile "$profile" --bin segvault)

say "a Debian, and what assemble.sh makes of it"
debootstrap --variant=minbase bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 ||
  { tail -n 20 "$work/log" >&2; exit 1; }
cp deploy/docker/assemble.sh "$root/tmp/"
# As this machine reaches its packages.
[ ! -e /etc/apt/apt.conf.d ] || cp -r /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
chroot "$root" sh /tmp/assemble.sh >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
install -m 755 "$CARGO_TARGET_DIR/$built/segvault" "$root/usr/local/bin/segvault"
du -sh "$root" | awk '{ print "--- the tree has " $1 }' >&2

say "the node, as its user, on a read-only root"
mkdir -p "$work/run-record" "$work/run-tmp"
mount --bind "$root" "$root"
mount --bind "$work/run-record" "$root/var/lib/segvault"
mount --bind "$work/run-tmp" "$root/tmp"
mount -o remount,bind,ro "$root"
chown 10001:10001 "$work/run-record"
chmod 1777 "$work/run-tmp"
inside=(chroot --userspec=10001:10001 "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin SEGVAULT_NODE__LISTEN=127.0.0.1:0
  SEGVAULT_NODE__DIR=/var/lib/segvault)

hour=$work/run-record/ch/source/2026-01-02T03
mkdir -p "$hour"
# With bytes in it: an empty file is one that went bad. All have the same.
hash=$(printf 'a segment' | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '=')
for start in 00:00 00:02 00:04; do printf 'a segment' >"$hour/$start.000000-2.0-full-$hash.ts"; done
chown -R 10001:10001 "$work/run-record/ch"

"${inside[@]}" /usr/bin/tini -- /usr/local/bin/segvault run 2>"$work/node.log" &
node=$!
for _ in $(seq 100); do "${inside[@]}" segvault health --ready >/dev/null 2>&1 && break; sleep 0.1; done
"${inside[@]}" segvault health --ready || { cat "$work/node.log" >&2; exit 1; }
address=$(cat "$work/run-record/.segvault/listen")
listed() { bash -c 'exec 3<>"/dev/tcp/${1%:*}/${1#*:}"; printf "GET /files/ch/source/2026-01-02T03 HTTP/1.0\r\n\r\n" >&3; tail -n 1 <&3' - "$address" | grep -o full | wc -l; }
lists() { [ "$(listed)" = "$1" ] || { say "$(listed) segments are listed, not $1"; cat "$work/node.log" >&2; exit 1; }; }
lists 3
"${inside[@]}" segvault tombstone add --dir /var/lib/segvault "ch/source/2026-01-02T03/00:00.000000-2.0-full-$hash.ts"
lists 2
"${inside[@]}" touch "/var/lib/segvault/ch/source/2026-01-02T03/00:02.000000-2.0-full-$hash.tombstone"
lists 1
"${inside[@]}" ffmpeg -v error -f lavfi -i testsrc2=d=1 -c:v libx264 -f null -
kill -TERM "$node"
wait "$node" || { say "the node ended with $?"; cat "$work/node.log" >&2; exit 1; }
node=
say "all of it works"
