# Each target makes the environment it needs in .venv: nothing but Python and make has to be there.
#
#   make PYTHON=python3.12 test     another Python than python3
#   make ARGS="-k batch" test       further arguments for pytest, or for a benchmark
#   make DATA=../shared/data bench  also what needs the data sets that are not shipped

SHELL := /bin/sh
PYTHON ?= python3
ARGS ?=
DATA ?=

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
DEV := $(VENV)/.dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# The benchmark of speed has two other libraries beside Isthmus.
BENCH := .venv-bench
PEERS := $(BENCH)/.peers
SPEED := benchmarks/speed
INSTALL_PEERS := $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	-c $(SPEED)/constraints-peers.txt

# Tools keep caches under HOME; where there is none they get a place of their own instead of "/".
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.cache/home
endif

# Idle OpenMP threads that spin make a busy machine up to ten times slower. Has to be set before torch is imported.
export OMP_WAIT_POLICY ?= PASSIVE

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint types docs rerun bench bench-growth bench-quality clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(CORE) ## Train on the digits that ship with the package; ends with demo-run/report.html
	$(BIN)/isthmus demo --out demo-run

# One thread a process: the tests already run in several.
test test-all rerun: export OMP_NUM_THREADS := 1

test: $(DEV) ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

test-all: $(DEV) ## Run all tests, the slow ones too
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal -m "" $(ARGS)

rerun: $(DEV) ## Train two rows of the benchmark of methods again; needs the shared data sets
	$(BIN)/python -m pytest -m slow tests/test_benchmark_methods.py $(ARGS)

lint: $(DEV) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV) ## Check types
	$(BIN)/mypy

docs: $(DEV) ## Build the documentation into site/
	$(BIN)/zensical build --clean --strict

bench: $(PEERS) ## Measure the speed beside two other libraries, and print the tables; half an hour on two cores
	@status=0; $(BENCH)/bin/python $(SPEED)/run.py $(if $(DATA),--data "$(DATA)") $(ARGS) || status=$$?; \
	$(BENCH)/bin/python $(SPEED)/run.py --table && exit $$status

bench-growth: $(PEERS) ## Measure how time and memory grow; an hour, goes on where it was stopped
	@status=0; $(BENCH)/bin/python $(SPEED)/growth.py $(ARGS) || status=$$?; \
	$(BENCH)/bin/python $(SPEED)/growth.py --table && exit $$status

bench-quality: $(PEERS) ## Measure quality at equal time; hours, needs DATA, goes on where it was stopped
	@status=0; $(BENCH)/bin/python $(SPEED)/quality.py $(if $(DATA),--data "$(DATA)") $(ARGS) || status=$$?; \
	$(BENCH)/bin/python $(SPEED)/quality.py --table && exit $$status

clean: ## Remove the environment and all that these targets made
	rm -rf $(VENV) $(BENCH) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site demo-run
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and is looked at again at the end: a package that asks for another build of it would replace it
# by one of several gigabytes.
$(CORE): pyproject.toml constraints.txt scripts/check_python.py
	@command -v $(PYTHON) > /dev/null || { echo "make: '$(PYTHON)' was not found. Isthmus needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) scripts/check_python.py
	@mkdir -p "$$HOME" 2> /dev/null || true
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing Isthmus into $(VENV); the first time takes a few minutes."
	@$(INSTALL) torch
	@$(INSTALL) -e .
	@$(BIN)/python scripts/check_torch.py
	@touch $@

$(DEV): $(CORE)
	@echo "Installing what the tests, checks and docs need into $(VENV)."
	@$(INSTALL) -e ".[dev,docs,frames,tensorboard]"
	@$(BIN)/python scripts/check_torch.py
	@touch $@

# The peers ask for torchvision, which brings another build of torch, and for old releases of what they hardly use: what
# they do import goes in first, and they without the rest.
$(PEERS): pyproject.toml constraints.txt $(SPEED)/constraints-peers.txt
	@command -v $(PYTHON) > /dev/null || { echo "make: '$(PYTHON)' was not found. Isthmus needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) scripts/check_python.py
	@mkdir -p "$$HOME" 2> /dev/null || true
	@test -x $(BENCH)/bin/pip || $(PYTHON) -m venv $(BENCH)
	@echo "Installing Isthmus and two other libraries into $(BENCH); the first time takes a few minutes."
	@$(INSTALL_PEERS) torch
	@$(INSTALL_PEERS) -e .
	@$(INSTALL_PEERS) imageio nltk torchmetrics hydra-core schema pytorch-lightning tensorboard
	@$(INSTALL_PEERS) --no-deps multivae pythae multiviewae
	@$(BENCH)/bin/python scripts/check_torch.py
	@touch $@
