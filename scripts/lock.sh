#!/usr/bin/env bash
# Writes the hashed locks from pyproject.toml: dev.txt (everything `make` needs), server.txt (what the container holds, a
# subset at the same versions), audit.txt (tools that look at locks) and fuzz.txt (the fuzzer, which is laid over dev.txt).
# Usage: scripts/lock.sh BIN, where BIN holds pip-compile.
# torch is left out: see torch.txt. No index address is written, so that any mirror serves.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1

compile() { # compile FILE HEADLINE ARGUMENT... (SOURCE says what is compiled, if not pyproject.toml)
  local file=$1 headline=$2
  shift 2
  CUSTOM_COMPILE_COMMAND="make lock" "$bin/pip-compile" --quiet --upgrade --generate-hashes --strip-extras --no-header \
    --unsafe-package torch --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --constraint requirements/torch.txt "$@" --output-file "$file" "${SOURCE:-pyproject.toml}" 2>/dev/null
  # pip-compile warns, at the end, about the torch we leave out on purpose.
  { printf '# Made from pyproject.toml by: make lock. %s\n' "$headline"; sed '/^# WARNING: The following packages/,$d' "$file"; } >"$file.new"
  mv "$file.new" "$file"
}

compile requirements/dev.txt "Everything to serve, evaluate, train, test and lint." \
  --extra server --extra evaluate --extra train --extra dev
sed 's/ \\$//; /--hash/d' requirements/dev.txt >requirements/.versions
trap 'rm -f requirements/.versions' EXIT
compile requirements/server.txt "What a host that serves needs." --extra server --constraint requirements/.versions
compile requirements/audit.txt "What make audit and make sbom need." --extra audit --constraint requirements/.versions
# Without our own dependencies: those of dev.txt are there.
"$bin/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"])' |
  SOURCE=- compile requirements/fuzz.txt "What make fuzz needs beside dev.txt." --no-annotate
