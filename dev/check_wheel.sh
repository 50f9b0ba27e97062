#!/bin/sh
# Build the wheel, install it alone in a new environment, and segment a photo with what was installed.
# usage: dev/check_wheel.sh PYTHON   (a python that has `build` and `hatchling`)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$1" -m build --wheel --no-isolation --outdir "$place/dist" "$root" > "$place/build.log" || {
  cat "$place/build.log" >&2
  exit 1
}
"$1" -m venv "$place/venv"
"$place/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
  --no-compile --constraint "$root/constraints.txt" "$place"/dist/*.whl
# From the new folder, so that nothing of the working tree can be imported.
cd "$place"
venv/bin/promptseg --help > /dev/null
venv/bin/promptseg segment "$root/examples/coffee.jpg" --point 285,150 --format png -o masks --quiet
test -s masks/coffee.mask.png
echo "the wheel segments a photo in an environment of its own"
