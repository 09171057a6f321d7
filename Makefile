# Two commands need nothing but Python 3.11 or newer and make: `make demo` and `make test`.
# Each makes a virtual environment in this folder, once, and installs the pinned versions into it.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
READY := $(VENV)/ready-$(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: help setup demo test test-long bench bench-gpu lint types imports check format clean

help:
	@echo "make demo   search on the embedded digits, then write and show where the report is"
	@echo "make test   run the tests, some minutes"
	@echo "make test-long  run the longest: of a lost node, a full disk and the like, some minutes more"
	@echo "make bench  measure the speed of the loop beside a plain one, some minutes a case"
	@echo "make bench-gpu  the same on a CUDA GPU, and how many trials an hour it trains; not yet run on one"
	@echo "make check  linters, types and the direction of imports"
	@echo "make format format the code"
	@echo "make clean  remove the virtual environment and caches; runs/ stays"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 found; install one, or give PYTHON=/path/to/python3"; exit 1; }
	@echo "installing into $(VENV), once: some minutes and about 6 GB with PyTorch"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@# Compiled now: a sweep starts a Python for every trial's process.
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

demo: setup
	@$(BIN)/dfkd-tune sweep experiments/digits.yaml

# On two processes, which take one file after the other: what its tests share is made once.
test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-long: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long --numprocesses 0

# Of other cases: `.venv/bin/python -m performance --help`.
bench: setup
	@$(BIN)/python -m performance --pairs wrn-32,resnet-32 --recipes dfq

# The ResNet pair last: it takes longest.
bench-gpu: setup
	@$(BIN)/python -m performance --device cuda --pairs wrn-32,resnet-32 --recipes dfq --batch-size 256 --iterations 20 --rounds 3 --output gpu_loop.json
	@$(BIN)/python -m performance.many --device cuda --pair wrn-32 --recipe cgdd --batch-size 256 --iterations 40 --output gpu_many.json
	@$(BIN)/python -m performance.many --device cuda --pair wrn-32 --recipe cgdd --batch-size 256 --iterations 40 --way bfloat16+graphs --output gpu_many_fast.json
	@$(BIN)/python -m performance.many --device cuda --pair resnet-32 --recipe cgdd --batch-size 256 --iterations 10 --way bfloat16+graphs --output gpu_many_resnet.json

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports

check: lint types imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
