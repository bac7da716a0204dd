# The one door to the tools: every target sets up what it needs, and CI runs the same targets.
#
# `.venv` is filled from the lock files with every hash checked. `uv` does it where it can be had,
# because it is several times faster; pip does the same work, slower, where it cannot.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for python in python3.11 python3 python3.13 python3.12; do \
  $$python $(IS_NEW_ENOUGH) 2>/dev/null && command -v $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Arguments for the programs that `make demo`, `make test`, `make faults` and `make bench` run.
ARGS ?=

# Whoever gave pip a certificate bundle or an index of their own meant uv as well.
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help install install-dev demo test faults faults-long check format lint types imports lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- set-up ---------------------------------------------------------------------------------------

install: $(VENV)/.installed ## fill .venv with what the product and the demo need
install-dev: $(VENV)/.installed-dev ## fill .venv with that and the development tools

# `--without-pip` would be quicker still, but pip is the fall-back and fetches uv.
$(BIN)/python:
	@test -n "$(PYTHON)" && "$(PYTHON)" $(IS_NEW_ENOUGH) \
	  || { echo "make: Python 3.11 or later is needed: install it, or name it with PYTHON=/path" >&2; exit 2; }
	@echo "make: creating $(VENV)" >&2
	@"$(PYTHON)" -m venv $(VENV) \
	  || { echo "make: the venv module is needed (on Debian: apt-get install python3-venv)" >&2; exit 2; }

# The builder of our own package and the installer come first, at the versions the lock pins.
$(VENV)/.bootstrapped: requirements.lock | $(BIN)/python
	@sed -n -E '/^setuptools==/,/[^\\]$$/p' requirements.lock > $(VENV)/setuptools.lock
	@sed -n -E '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/pip install --quiet --require-hashes -r $(VENV)/setuptools.lock
	@$(BIN)/pip install --quiet --require-hashes --only-binary :all: -r $(VENV)/uv.lock \
	  || echo "make: uv cannot be had here, so pip installs (slower)" >&2
	@touch $@

# No build isolation: a build would otherwise fetch a builder that no lock pins.
# `editable_mode=compat` puts the repository on the path, so that new packages need no new install.
pip-install = { test -x $(BIN)/uv \
  && $(BIN)/uv pip install --python $(BIN)/python --quiet --no-build-isolation $(1); } \
  || $(BIN)/pip install --quiet --no-build-isolation $(1)

define install-locked
	@echo "make: installing $<" >&2
	@sed -E '/^uv==/,/[^\]$$/d' $< > $(VENV)/rest.lock  # a machine without uv must still install
	@$(call pip-install,--require-hashes -r $(VENV)/rest.lock)
	@$(call pip-install,--no-deps --config-settings editable_mode=compat --editable .)
	@touch $@
endef

$(VENV)/.installed: requirements.lock pyproject.toml $(VENV)/.bootstrapped
	$(install-locked)

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml $(VENV)/.bootstrapped
	$(install-locked)
	@touch $(VENV)/.installed

# --- run ------------------------------------------------------------------------------------------

# `exec` leaves no shell between the terminal and the program, so that Ctrl-C reaches it once.
demo: install ## run everything on this machine (ARGS='--port 8080 --rate 5000 --duration 60')
	@exec $(BIN)/analytics demo $(ARGS)

bench: install-dev ## run the benchmarks (ARGS='NAME')
	@exec $(BIN)/python -m benchmarks $(ARGS)

# --- verify ---------------------------------------------------------------------------------------

test: install-dev ## run the default tests (ARGS='-k name')
	@$(BIN)/python -m pytest -q $(ARGS)

# They mostly wait, for sessions to end and servers to come back: so two at a time.
faults: install-dev ## break workers, brokers, disks and data, once each (ARGS='-k disk')
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "faults and not slow" tests/faults $(ARGS)

faults-long: install-dev ## the same as often as docs/reliability.md says, and an hour at random
	@$(BIN)/python -m pytest -q -m faults --faults-long tests/faults $(ARGS)

check: lint types imports ## run every static check, as CI does

lint: install-dev ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install-dev ## mypy --strict over code and tests
	@$(BIN)/mypy

imports: install-dev ## import-linter: who may import whom
	@$(BIN)/lint-imports

format: install-dev ## let ruff format and repair what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# --- keep -----------------------------------------------------------------------------------------

# The second lock is resolved under the first, so that both agree on every version.
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
  --custom-compile-command 'make lock' --extra demo --group build

lock: $(VENV)/.bootstrapped ## resolve the dependencies anew (ARGS='--upgrade' moves versions)
	@$(LOCK) --extra dev --output-file requirements-dev.lock $(ARGS)
	@$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock $(ARGS)

clean: ## remove the environment and every cache
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
