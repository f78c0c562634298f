#!/usr/bin/env bash
# Builds a target of deploy/Dockerfile. Usage: scripts/build-image.sh TARGET [NAME]
# With docker, or else buildah. BUILD_FLAGS holds further flags of theirs: --build-arg TORCH_INDEX=…, --platform …
# Without a NAME the image is called as the chart asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
version=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' altclip/version.py)
case $target in
  cuda) name=altclip-server:$version-cuda ;;
  *) name=altclip-$target:$version ;;
esac
name=${2:-$name}
revision=$(git rev-parse HEAD 2>/dev/null || true)
# The time of the commit: the same sources give the same label.
created=$(git log -1 --format=%cI 2>/dev/null || true)
labels=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created")

# The command alone says little: a daemon must answer.
if docker info >/dev/null 2>&1; then
  engine=(docker build)
elif command -v buildah >/dev/null; then
  # chroot needs no privileges that a build machine may lack; docker's format keeps the stop signal.
  engine=(buildah build --isolation chroot --format docker --layers)
else
  echo "$0: no docker daemon answers, and buildah is not installed" >&2
  exit 1
fi
read -r -a flags <<<"${BUILD_FLAGS:-}"
exec "${engine[@]}" -f deploy/Dockerfile --target "$target" -t "$name" "${labels[@]}" "${flags[@]}" .
