# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check e2e setup clean
.DEFAULT_GOAL := test

demo: $(VENV)/.run
	$(BIN)/llamavet demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not e2e"

check: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

e2e: $(VENV)/.dev .e2e/.ready
	LLAMAVET_E2E_VENV="$(CURDIR)/.e2e/venv" $(BIN)/python -m pytest -q -m e2e

setup: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Python 3.11 or later is needed" >&2; exit 1)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.run

.e2e/.ready: tests/e2e/install_llamafactory.sh
	bash tests/e2e/install_llamafactory.sh .e2e/venv
	touch $@

clean:
	rm -rf $(VENV) .e2e dist build
