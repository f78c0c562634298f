#!/usr/bin/env bash
# Lints the protos with buf. They import google/rpc/status.proto, whose source pip installed, so buf is given a compiled
# image that holds it, and looks at our package alone. Usage: scripts/lint-protos.sh BIN
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
image=$(mktemp --suffix=.binpb)
trap 'rm -f "$image"' EXIT

site=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$bin/python" -m grpc_tools.protoc --proto_path=protos --proto_path="$site" --include_imports --include_source_info \
  --descriptor_set_out="$image" protos/altclip/v1/*.proto
"$bin/buf" lint "$image" --path altclip --config buf.yaml
