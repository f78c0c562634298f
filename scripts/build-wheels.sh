#!/usr/bin/env bash
# Builds the wheels of both distributions into FOLDER. Usage: scripts/build-wheels.sh BIN FOLDER
# They are built from a copy, so that nothing an earlier build left behind gets into them. No network is needed: BIN
# holds the build backend.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cp -R pyproject.toml README.md LICENSE NOTICE MODEL_LICENSE.md altclip service worker server "$copy"
rm -rf "$copy/server/build"
"$bin/python" -m pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation --no-index --wheel-dir "$folder" \
  "$copy" "$copy/server"
