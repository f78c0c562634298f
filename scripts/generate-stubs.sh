#!/usr/bin/env bash
# Generates the Python stubs and their types from altclip/v1/*.proto.
#   scripts/generate-stubs.sh BIN            writes them into this repository
#   scripts/generate-stubs.sh BIN --check    fails where what is committed is not what the protos give
# BIN holds the python with grpc_tools and mypy-protobuf.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

# Status and friends are imported from where pip put googleapis-common-protos.
site=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc --proto_path=protos --proto_path="$site" \
  --python_out="$fresh" --grpc_python_out="$fresh" --mypy_out=quiet:"$fresh" --mypy_grpc_out=quiet:"$fresh" \
  protos/altclip/v1/*.proto

if [ "${2:-}" = --check ]; then
  diff --recursive --exclude=__init__.py --exclude=__pycache__ "$fresh/altclip/v1" altclip/v1 ||
    { echo "altclip/v1 is not what the protos give: run 'make proto' and commit it" >&2; exit 1; }
else
  find altclip/v1 -name '*_pb2*' -delete
  cp "$fresh"/altclip/v1/* altclip/v1/
fi
