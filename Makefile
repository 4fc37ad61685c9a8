# `make run` starts the whole system, `make test` checks it. Nothing else has to be installed by hand.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# PYTHON=/path/to/python chooses another interpreter; otherwise the first one here that is new enough.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
JOBS ?= 2

.PHONY: run test lint types messages clean help
.DEFAULT_GOAL := help

help:  ## Say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: $(VENV)/.installed .make/messages  ## Install what is missing and run the whole system
	@$(BIN)/python manage.py start

test: $(VENV)/.installed-dev .make/messages  ## Install the development extras, then ruff, mypy and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# the plugin reads the settings, which want a key
	LEPTON_SECRET_KEY=for-types-only $(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.installed-dev  ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## Check the types
	@# the plugin reads the settings, which want a key
	LEPTON_SECRET_KEY=for-types-only $(BIN)/mypy

messages: $(VENV)/.installed  ## Compile the translations
	@$(BIN)/pybabel --quiet compile --directory lepton_app/locale --domain django --statistics

clean:  ## Remove the environment and what was compiled; the data in var/ stays
	rm -rf $(VENV) .make .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.make/messages: $(wildcard lepton_app/locale/*/LC_MESSAGES/django.po) | $(VENV)/.installed
	@mkdir -p .make
	@$(BIN)/pybabel --quiet compile --directory lepton_app/locale --domain django
	@touch $@

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is needed and was not found: install it, or run make PYTHON=/path/to/python." >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is too old: Python 3.11 or newer is needed; install it, or run make PYTHON=/path/to/python." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The environment could not be made: install Python's venv module." >&2; exit 1; }

$(VENV)/.installed: pyproject.toml deploy/constraints.txt | $(BIN)/python
	@echo "Installing the packages (about 2 GB, one to several minutes) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development extras …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt --editable '.[dev]'
	@touch $@
