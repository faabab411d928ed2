# Scanward: `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TEST_PROCESSES ?= 2
PREFIX ?= $(HOME)/.local
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help install demo test check lint types layers bench schema clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Scanward needs Python 3.11 or newer"'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Scanward into $(VENV) ..."
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools that tests and checks need ..."
	@$(PIP) install --constraint constraints.txt --editable ".[dev]"
	@touch $@

install: $(VENV)/.installed ## Scanward in .venv, and a link to the command in ~/.local/bin (PREFIX=/usr/local for everybody)
	@mkdir -p $(PREFIX)/bin
	@ln -sfn $(CURDIR)/$(BIN)/scanward $(PREFIX)/bin/scanward
	@$(PREFIX)/bin/scanward --version
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "$(PREFIX)/bin is not in PATH; call $(PREFIX)/bin/scanward" ;; esac

demo: $(VENV)/.installed ## two phantom studies through a real daemon and a real DICOM peer; found against true
	@$(BIN)/scanward demo

test: $(VENV)/.installed-dev ## the tests (training tests are skipped without the extra `train`)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

check: lint types layers test ## lint, types, layers and tests

lint: $(VENV)/.installed-dev ## ruff: style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## mypy, strict
	@$(BIN)/mypy

layers: $(VENV)/.installed-dev ## import-linter: which folder may import which
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## speed beside peers, as ratios of one run
	@$(BIN)/python -m benchmarks

schema: $(VENV)/.installed ## write deploy/rules.schema.json and docs/configuration.md anew
	@$(BIN)/scanward rules schema > deploy/rules.schema.json
	@$(BIN)/python -m daemon.config.reference > docs/configuration.md

clean: ## remove what can be made again
	@rm -rf $(VENV) demo-out .mypy_cache .ruff_cache .pytest_cache
