# Two commands matter: `make demo` and `make test`. Each does all its set-up, as root on a fresh Debian machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
BENCH_PYTHON := $(firstword $(wildcard /usr/bin/python3) $(PYTHON))
MERMAID := tests/mermaid/node_modules

.DEFAULT_GOAL := help
.PHONY: help setup demo test userland lint unit fuzz bench churn docs man clean

help: ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Debian packages (only what is missing), the virtual environment, and Mermaid
	@sh tests/lab/setup.sh
	@$(MAKE) --no-print-directory --jobs=2 $(VENV)/.installed $(MERMAID)/.installed

$(VENV)/.installed: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(MERMAID)/.installed: tests/mermaid/package.json tests/mermaid/package-lock.json
	npm ci --prefix tests/mermaid --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

demo: setup ## a throwaway Docker host with the demo scenario, and its report (KEEP=1 keeps the host)
	@$(BIN)/python -m tests.lab demo

test: setup userland lint ## lint, then every test, the live ones against real engines
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Made meanwhile: it takes a minute, much of it to wait for the mirror. Tests that need it wait for it, or say why not.
userland: setup
	@$(BIN)/python -m tests.lab userland sid >/dev/null 2>&1 &

lint: $(VENV)/.installed ## ruff, mypy --strict, the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.installed ## the tests that need neither root nor an engine
	$(BIN)/python -m pytest tests/unit

fuzz: $(VENV)/.installed ## damaged inputs for every parser, until Ctrl-C or for SECONDS=…; what fails becomes a test
	@SECONDS=$(SECONDS) SEED=$(SEED) $(BIN)/python -m tests.fuzz

bench: setup $(BENCH)/.installed ## measure, by Debian's own Python; asserts nothing
	$(BENCH)/bin/python -m tests.bench

# As somebody installs it: what tools for development bring along takes longer to load than much of what is measured.
$(BENCH)/.installed: $(VENV)/.installed pyproject.toml requirements-dev.txt $(shell find hostinspect -name '*.py')
	PYTHON=$(BENCH_PYTHON) sh tests/lab/setup.sh
	$(BENCH_PYTHON) -m venv --clear $(BENCH)
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(BENCH)/wheel .
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt \
		$(BENCH)/wheel/*.whl python-iptables pyroute2 psutil
	@touch $@

churn: setup ## 1,100 reports while 20 containers start and stop each second, each held against a log of what there was
	$(BIN)/python -m tests.lab churn

docs: setup ## run every command that the documentation shows, and put in what it prints now; the manual pages too
	@$(BIN)/python -m tests.docs
	@$(MAKE) --no-print-directory man

man: $(VENV)/.installed ## the manual pages, from --help
	@$(BIN)/python -m hostinspect.cli.man docs/man

clean: ## the virtual environment, Mermaid, and what the tools left
	rm -rf $(VENV) $(BENCH) $(MERMAID) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
