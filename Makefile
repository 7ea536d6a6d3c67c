# Two commands on a fresh machine: `make demo` plays the whole story, `make test` runs the fast lane.
# Needed beforehand: Python 3.11 or later with venv and pip, make. Everything else goes into .venv/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet --no-input
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) -q

# An environment is current when its stamp carries the hash of the lock, of pyproject.toml and of this folder's place.
key     = $(shell (cat $(1) pyproject.toml; pwd) | sha256sum | cut -c1-16)
CORE   := $(VENV)/.core-$(call key,requirements.lock)
DEV    := $(VENV)/.dev-$(call key,requirements-dev.lock)

# One BLAS thread per process: candidates and test workers share the cores instead of fighting for them.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help demo test test-full postgres lint docs lock bench clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(CORE) ## set up .venv and play the whole story, in a folder that is removed again
	@$(BIN)/trimtab demo

test: lint postgres ## lint, then every test of the fast lane, on SQLite and on PostgreSQL (installed if we may)
	@$(PYTEST) -m "not slow and not full"

test-full: $(DEV) postgres ## what `make test` leaves out: slow tests, and tests/full, each in an environment of its own
	@$(PYTEST) -m "slow or full"
	@for home in tests/full/*/; do name=$$(basename $$home); python=$$($(BIN)/python tools/environment.py $$name) && \
		PYTHONPATH=$(CURDIR)/src $$python -m pytest -q --confcutdir=$$home $$home || exit 1; done

postgres:
	@tools/postgres.sh || test "$$TRIMTAB_REQUIRE_POSTGRES" != 1

lint: $(DEV) ## ruff, mypy --strict for Python 3.11 and 3.13, the rows of rooms (import-linter)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary --python-version 3.13
	@$(BIN)/lint-imports --no-logo

docs: $(DEV) ## write docs/cli.md again from the command line itself
	@$(BIN)/python tools/cli_reference.py

lock: $(DEV) ## resolve requirements.lock and requirements-dev.lock (UPGRADE=--upgrade for the newest releases)
	@$(PIP) install pip-tools
	@$(BIN)/python tools/lock.py $(UPGRADE)

bench: $(DEV) ## run every script in benchmarks/ and print its figures
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean: ## remove .venv and all caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache build

$(CORE):
	$(call install,requirements.lock)
	@rm -f $(VENV)/.core-* && touch $@

$(DEV):
	$(call install,requirements-dev.lock)
	@rm -f $(VENV)/.core-* $(VENV)/.dev-* && touch $@ $(CORE)

define install
@echo "Setting up $(VENV) from $(1) …" >&2
@$(PYTHON) -c 'import sys; sys.exit("trimtab needs Python 3.11 or later: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
@$(PIP) install --require-hashes -r $(1)
@$(PIP) install --no-deps --no-build-isolation -e .
endef
