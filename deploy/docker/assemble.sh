#!/bin/sh
# Makes a node's home of the root that it runs in, a Debian: packages, user, directory. The Dockerfile runs it, and so does
# scripts/image.sh, which tries the result without an engine for containers.
set -eu

# What a node starts: ffmpeg for cuts, yt-dlp or streamlink only where a channel needs one (add them in an image of your own).
# tini reaps what a program of a source leaves behind.
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates ffmpeg tini
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log

groupadd --gid 10001 segvault
useradd --uid 10001 --gid 10001 --home-dir /var/lib/segvault --no-create-home --shell /usr/sbin/nologin segvault
# Recordings belong to this user on whatever volume is mounted.
install -d -o 10001 -g 10001 /var/lib/segvault /etc/segvault
