#!/usr/bin/env bash
# Lints the protos with buf, and holds that they broke nothing: no field, value or RPC of the image that is committed
# beside them may be gone, renumbered, renamed or of another type.
#   scripts/lint-protos.sh BIN           checks
#   scripts/lint-protos.sh BIN --save    checks, and writes the image anew, so that what is new in the protos is held, too
# The protos import google/rpc/status.proto, whose source pip installed, so buf is given a compiled image that holds it,
# and looks at our package alone. BIN holds buf and the python with grpc_tools.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
committed=protos/altclip/v1/image.binpb
image=$(mktemp --suffix=.binpb)
trap 'rm -f "$image"' EXIT

compile() {
  "$bin/python" -m grpc_tools.protoc --proto_path=protos --proto_path="$site" --include_imports "$@" \
    protos/altclip/v1/*.proto
}

site=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
compile --include_source_info --descriptor_set_out="$image"
"$bin/buf" lint "$image" --path altclip --config buf.yaml
"$bin/buf" breaking "$image" --against "$committed" --path altclip --config buf.yaml
if [ "${2:-}" = --save ]; then
  compile --descriptor_set_out="$committed"
else
  # What the image lacks of the protos looks like a deletion the other way round.
  "$bin/buf" breaking "$committed" --against "$image" --path altclip --config buf.yaml > /dev/null ||
    { echo "$committed lacks something of the protos: run 'make proto' and commit it" >&2; exit 1; }
fi
