# Every target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt. The set-up
# is skipped as long as neither pyproject.toml nor constraints.txt has changed.
#   PYTHON=python3.12 make test                      another interpreter for a new .venv
#   make test PYTEST_ARGS="-k store"                 other arguments for pytest
#   make bench BENCH_ARGS="--supernet s2 --repeat 5" other arguments for the benchmarks (`--help` lists them)
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
#                                                    PyTorch without CUDA (on Linux 200 MB in place of 3 GB)

PYTHON ?=
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 4
BENCH_ARGS ?=
CHAOS_ARGS ?=

BIN := .venv/bin
C_FILES := $(wildcard src/archselect/kernels/cpu/csrc/*.[ch])
INSTALLED := .venv/installed
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
SUITABLE := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

# One thread in each process of the tests: two that share the cores' threads are slower than either alone.
demo docs test test-slow chaos: export OMP_NUM_THREADS = 1

.PHONY: help demo docs test test-slow test-lowest test-newest audit chaos bench bench-scaling profile paper lint format clean FORCE
.DELETE_ON_ERROR:

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## Search, select and judge a small architecture on a CPU, in one to two minutes
	$(BIN)/python train.py experiment=quickstart

test: $(INSTALLED)  ## Run the tests, without the slow ones, a process per core
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: $(INSTALLED)  ## Run the slow tests
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# What needs most of the dependencies: images, configs, the store, tables, loggers, a page, and one whole run.
LOWEST_TESTS = tests/genotype tests/store tests/data tests/evaluation/test_nasbench201.py \
    tests/test_configs.py tests/pipeline/test_loggers.py tests/reporting/test_page.py \
    tests/test_runs.py::test_python_train_py_ends_with_a_table_and_typed_again_returns_what_is_there

test-lowest: export OMP_NUM_THREADS = 1
test-lowest: $(INSTALLED)  ## Run some of the tests with the oldest versions that pyproject.toml allows, on Python 3.11
	$(BIN)/python -m venv .venv/lowest
	.venv/lowest/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv/lowest/bin/python -m pip install --quiet --no-deps --requirement constraints-lowest.txt --editable .
	.venv/lowest/bin/python -m pytest $(PYTEST_ARGS) $(LOWEST_TESTS)

# Without constraints.txt: what `pip install -e .` brings today. The versions are printed, so that a failure names them.
test-newest: export OMP_NUM_THREADS = 1
test-newest: $(INSTALLED)  ## Run the tests with the newest versions that pyproject.toml allows, PyTorch's included
	$(BIN)/python -m venv .venv/newest
	.venv/newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager torch
	.venv/newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	.venv/newest/bin/python -m pip freeze --exclude-editable
	.venv/newest/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

audit: $(INSTALLED)  ## Ask PyPI for known vulnerabilities of the versions in constraints.txt
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet 'pip-audit>=2.10,<3'
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

chaos: $(INSTALLED)  ## Kill runs at random moments, 100 times, and compare what they come to with undisturbed ones
	$(BIN)/python -m benchmarks chaos $(CHAOS_ARGS)

bench: $(INSTALLED)  ## Time the supernets against the plain ones of tests/reference; nothing else may run meanwhile
	$(BIN)/python -m benchmarks comparison $(BENCH_ARGS)

bench-scaling: $(INSTALLED)  ## Time and memory of a step against channels, depth, batch size and decisions made
	$(BIN)/python -m benchmarks scaling $(BENCH_ARGS)

profile: $(INSTALLED)  ## The costliest kinds of work in a step, beside the limits of the machine
	$(BIN)/python -m benchmarks profiling $(BENCH_ARGS)

# Resumable: what is in $(PAPER_LOGS) is not computed again. DATA: a folder with CIFAR-10.
PAPER_LOGS ?= logs/paper
PAPER_TRAIN = $(BIN)/python train.py -m data.path=$(abspath $(DATA)) logs=$(PAPER_LOGS) \
    hydra.sweep.dir=$(PAPER_LOGS)/runs 'hydra.sweep.subdir=$${search_space.name}/$${search.name}-$${selection.name}-seed$${seed}'
PAPER_S2 = experiment=paper_s2
PAPER_NASBENCH201 = experiment=paper_nasbench201
PAPER_ANALYZE = $(BIN)/python analyze.py -m 'run=$(PAPER_LOGS)/runs/$(1)/darts-perturb-seed0,$(PAPER_LOGS)/runs/$(1)/darts-perturb-seed1'
# The analyses that train many networks look at the first supernet only.
PAPER_FIRST = $(BIN)/python analyze.py -m run=$(PAPER_LOGS)/runs/s2/darts-perturb-seed0

paper: $(INSTALLED)  ## The paper's claims at a size for two cores, about two hours: DATA=FOLDER
	@test -d "$(DATA)" || { echo "make paper DATA=FOLDER: a folder with CIFAR-10" >&2; exit 1; }
	$(PAPER_TRAIN) $(PAPER_S2) search=darts selection=magnitude,perturb seed=0,1
	$(PAPER_TRAIN) $(PAPER_S2) search=fixed_alpha selection=perturb seed=0,1
	$(PAPER_TRAIN) $(PAPER_NASBENCH201) search=darts selection=magnitude,perturb,perturb_magnitude seed=0,1
	$(PAPER_TRAIN) $(PAPER_NASBENCH201) search=fixed_alpha selection=perturb seed=0,1
	$(call PAPER_ANALYZE,s2) analysis=operation_strength,skip_dominance,optimal_alpha,cells
	$(PAPER_FIRST) analysis=selection_curve
	$(PAPER_FIRST) analysis=shuffle analysis.recipe.epochs=15
	$(PAPER_FIRST) analysis=discretization_accuracy analysis.edges=6 analysis.training.epochs=3
	$(call PAPER_ANALYZE,nasbench201) analysis=operation_strength,trajectory,true_strength,landscape
	$(BIN)/python analyze.py -m analysis=seeds run=$(PAPER_LOGS)/runs/s2,$(PAPER_LOGS)/runs/nasbench201
	$(BIN)/python -m archselect.analysis.claims $(PAPER_LOGS)/runs --into RESULTS.md

# The pictures come from a sweep of two runs, which share the search with `make demo`, and from the tables.
docs: $(INSTALLED)  ## The generated pages and pictures of the documentation, and its site in site/
	$(BIN)/python train.py -m experiment=quickstart selection=magnitude,perturb hydra.sweep.dir=logs/docs/runs
	$(BIN)/python docs/pictures.py logs/docs/runs
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --clean --strict

lint: $(INSTALLED)  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(C_FILES)
	$(BIN)/mypy src benchmarks

format: $(INSTALLED)  ## Put the code into its style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_FILES)

clean:  ## Remove caches and build leftovers; results in logs/ and the environment in .venv stay
	rm -rf build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

# The environment points at this folder, so it is also renewed when the folder was moved or copied.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
$(INSTALLED): FORCE
endif
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c '$(SUITABLE)' 2>/dev/null; then \
	    python=; for candidate in $(CANDIDATES); do \
	        if $$candidate -c '$(SUITABLE)' 2>/dev/null; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "archselect needs Python 3.11, 3.12 or 3.13 with its venv module (on Debian and Ubuntu: apt install" >&2; \
	        echo "python3-venv); tried: $(CANDIDATES)." >&2; \
	        echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	        exit 1; \
	    fi; \
	    echo "Setting up .venv with $$($$python --version); this takes some minutes, once."; \
	    $$python -m venv --clear .venv; \
	fi
	$(BIN)/python -m pip install --constraint constraints.txt torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@echo '$(CURDIR)' > $@
