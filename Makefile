# `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make .venv from the lock (CHARALOOM_TORCH=auto|cpu|cuda), unless it is up to date
	@scripts/setup.sh

.PHONY: demo
demo: setup ## build two characters of the demo world
	@$(PYTHON_BIN)/charaloom demo

.PHONY: score
score: setup ## compare the demo with its ground truth (SEED=7: another world; LEVEL=hard: more like a real board; CURATION="11 12", OUTFITS=… or PREVIEWS=…: one part in these worlds)
	@$(PYTHON_BIN)/charaloom score $(if $(LEVEL),--level $(LEVEL)) $(if $(POSTS),--posts $(POSTS)) $(if $(SEED),--seed $(SEED)) $(if $(CURATION),--curation $(CURATION)) $(if $(OUTFITS),--outfits $(OUTFITS)) $(if $(PREVIEWS),--previews $(PREVIEWS))

.PHONY: verify
verify: setup ## build one demo character twice and compare every byte
	@$(PYTHON_BIN)/charaloom verify

.PHONY: drill-slurm
drill-slurm: setup ## build the demo on a real SLURM of three nodes and on this machine, compare every byte (ARGS="--characters 4")
	@PYTHONPATH=scripts:. $(PYTHON_BIN)/python -W ignore -m tests.slurm.drill $(ARGS)

.PHONY: demo-weights
demo-weights: setup ## train the demo's small models again (hours on a laptop)
	@$(PYTHON_BIN)/python -m charaloom.demo.models.train_all

# Three at once on two cores: the tests of the cluster mostly wait. WORKERS=0 runs all in one process, for a debugger.
WORKERS ?= 3
PYTEST = $(PYTHON_BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder

.PHONY: test
test: setup ## run the tests (ARGS="-k name" to choose)
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: setup ## run the tests that take no training, no cluster and no Snakemake to its end: two minutes
	@$(PYTEST) -m "not slow" $(ARGS)

.PHONY: test-faults
test-faults: setup ## run the tests of the list of faults, the long ones too, and write their results into docs/reliability.md (ARGS="C10 F12": some rows)
	@PYTHONPATH=scripts:. $(PYTHON_BIN)/python -m tests.faults.table $(or $(ARGS),all)

.PHONY: fuzz
fuzz: setup ## mutants of what our parsers read, for SECONDS (60) each (ARGS="captions yaml": some parsers)
	@PYTHONPATH=scripts:. $(PYTHON_BIN)/python -W ignore -m tests.faults.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

.PHONY: lint
lint: setup ## check style, types and the workflow
	$(PYTHON_BIN)/ruff check .
	$(PYTHON_BIN)/ruff format --check .
	$(PYTHON_BIN)/snakefmt --check Snakefile rules
	$(PYTHON_BIN)/snakemake --lint
	$(PYTHON_BIN)/mypy
	$(PYTHON_BIN)/lint-imports

.PHONY: format
format: setup ## format the code
	$(PYTHON_BIN)/ruff check --fix .
	$(PYTHON_BIN)/ruff format .
	$(PYTHON_BIN)/snakefmt Snakefile rules

bench-%: setup ## run tests/benchmarks/%.py
	@$(PYTHON_BIN)/python tests/benchmarks/$*.py $(ARGS)

.PHONY: gpu
gpu: ## on a machine with an NVIDIA GPU: train, resume, render at real size, eight minutes (with .gpu-wheels/: by its own python3)
	@if [ -d .gpu-wheels ]; then python3 tests/benchmarks/gpu.py $(ARGS); \
	else $(MAKE) --no-print-directory setup && $(PYTHON_BIN)/python tests/benchmarks/gpu.py $(ARGS); fi

.PHONY: gpu-wheels
gpu-wheels: setup ## collect what `make gpu` needs where there is no package index
	@$(PYTHON_BIN)/python tests/benchmarks/gpu_wheels.py $(ARGS)

drill-%: setup ## run tests/drills/%.py: break a run on purpose and check that it recovers
	@PYTHONPATH=scripts:. $(PYTHON_BIN)/python tests/drills/$(subst -,_,$*).py $(ARGS)

.PHONY: clean
clean: ## remove the environment and the caches, but not results/ and work/
	rm -rf .venv .venv.old .venv.lock .venv.log .pytest_cache .hypothesis .mypy_cache .ruff_cache scripts/*.egg-info
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
