# The one door to everything done in this repository; CI and pre-commit use the same targets. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PACKAGES := altclip service worker
PROTOS := $(wildcard protos/altclip/v1/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup lock proto demo serve test lint format bench tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp holds what the environment was made from, so that nothing is installed twice, and a lock that changed is.
setup: $(STAMP) ## Make .venv from the locks (a no-op when nothing changed)
$(STAMP): pyproject.toml requirements/dev.txt requirements/torch.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements/torch.txt
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

lock: ## Resolve the newest versions anew into requirements/*.txt
	requirements/lock.sh $(BIN)
