# On a fresh machine with Python 3.11 or later, git and make: `make walk`, `make test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Arguments of the surefoot command that `make walk` runs.
WALK ?= train anymal --video
# Benchmarks that `make bench` runs, in turn.
BENCH ?= benchmarks/ppo_throughput.py benchmarks/ppo_shares.py benchmarks/engines.py benchmarks/ars_throughput.py \
         benchmarks/off_policy_throughput.py
# Two workers: each loads its own JAX, so more of them cost memory rather than save time.
PYTEST ?= pytest -n 2 --dist loadfile --no-loadscope-reorder

VENV ?= .venv
BENCH_VENV ?= .venv-bench
# Tried in this order; PYTHON=/path/to/python goes first.
PYTHON ?=
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3

# uv if it is installed, else venv and pip. $(call new_venv,FOLDER) and $(call install,FOLDER,WHAT,CONSTRAINTS).
# The candidates are run, not only looked up: a version manager may provide a name without an interpreter.
UV := $(shell command -v uv)
define new_venv
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "No Python 3.11 or later found: install one, or name it with 'make PYTHON=/path/to/python $(MAKECMDGOALS)'." >&2; \
	    exit 1; \
	fi; \
	echo "Making $(1) with $$("$$found" --version)."; \
	$(if $(UV),uv venv --quiet --allow-existing --python "$$found" $(1),"$$found" -m venv $(1))
endef
# pip would compile every module to bytecode, which Python does for those in use.
define install
	@echo "Installing $(2) in $(1); the first time this takes a few minutes."
	@$(if $(UV),uv pip install --quiet --python $(1)/bin/python,$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-compile) \
	    --editable '$(2)' --constraint $(3)
endef

.PHONY: help walk test test-slow lint format docs bench clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

walk: $(VENV)/.core  ## Train a quadruped and record a video
	$(VENV)/bin/surefoot $(WALK)

test: lint  ## Lint, check types and run all but the slow tests
	$(VENV)/bin/$(PYTEST)

test-slow: $(VENV)/.dev  ## Run the slow tests
	$(VENV)/bin/$(PYTEST) -m slow

lint: $(VENV)/.dev  ## Check format and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyrefly check --python-interpreter-path $(VENV)/bin/python

format: $(VENV)/.dev  ## Format the code
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(VENV)/.dev  ## Generate and build the documentation in build/site; broken links fail
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/python benchmarks/readme.py
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(BENCH_VENV)/.bench  ## Measure speed next to other libraries
	@for script in $(BENCH); do $(BENCH_VENV)/bin/python "$$script"; done

clean:  ## Remove everything that make and the tools created, except runs/
	rm -rf $(VENV) $(BENCH_VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	$(call new_venv,$(VENV))
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,$(VENV),.,constraints.txt)
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,$(VENV),.[dev],constraints.txt)
	@touch $(VENV)/.core $@

$(BENCH_VENV)/.made:
	$(call new_venv,$(BENCH_VENV))
	@touch $@

$(BENCH_VENV)/.bench: $(BENCH_VENV)/.made pyproject.toml benchmarks/constraints-bench.txt
	$(call install,$(BENCH_VENV),.[bench],benchmarks/constraints-bench.txt)
	@touch $@
