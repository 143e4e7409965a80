# `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make .venv from the lock (CHARALOOM_TORCH=auto|cpu|cuda); nothing happens where it is up to date
	@scripts/setup.sh

.PHONY: demo
demo: setup ## run the whole workflow on the demo world
	@$(PYTHON_BIN)/charaloom demo

.PHONY: score
score: setup ## measure every stage against the demo world's truth (SEED=… another world, CURATION="11 12" filters alone, OUTFITS="11 12" outfits alone, PREVIEWS="11 12" previews alone)
	@$(PYTHON_BIN)/charaloom score $(if $(SEED),--seed $(SEED)) $(if $(CURATION),--curation $(CURATION)) $(if $(OUTFITS),--outfits $(OUTFITS)) $(if $(PREVIEWS),--previews $(PREVIEWS))

.PHONY: verify
verify: setup ## rebuild and compare digests
	@$(PYTHON_BIN)/charaloom verify

.PHONY: drill-slurm
drill-slurm: setup ## the demo on a real SLURM of three nodes and on this machine, byte by byte (ARGS="--characters 4")
	@PYTHONPATH=scripts:. $(PYTHON_BIN)/python -W ignore -m tests.slurm.drill $(ARGS)

.PHONY: demo-weights
demo-weights: setup ## train the demo's small models anew (hours on a laptop)
	@$(PYTHON_BIN)/python -m charaloom.demo.models.train_all

# Three at once on two cores: the tests of the cluster mostly wait. WORKERS=0 runs all in one process, for a debugger.
WORKERS ?= 3
PYTEST = $(PYTHON_BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: test
test: setup ## run the tests (ARGS="-k name" to choose)
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: setup ## run the tests that take no training, no cluster and no Snakemake to its end: two minutes
	@$(PYTEST) -m "not slow" $(ARGS)

.PHONY: lint
lint: setup ## check style, types and the workflow
	$(PYTHON_BIN)/ruff check .
	$(PYTHON_BIN)/ruff format --check .
	$(PYTHON_BIN)/snakefmt --check Snakefile rules
	$(PYTHON_BIN)/snakemake --lint
	$(PYTHON_BIN)/mypy

.PHONY: format
format: setup ## rewrite the code in its style
	$(PYTHON_BIN)/ruff check --fix .
	$(PYTHON_BIN)/ruff format .
	$(PYTHON_BIN)/snakefmt Snakefile rules

bench-%: setup ## run tests/benchmarks/%.py
	@$(PYTHON_BIN)/python tests/benchmarks/$*.py $(ARGS)

drill-%: setup ## run tests/drills/%.py: break things on purpose and see that they mend
	@$(PYTHON_BIN)/python tests/drills/$*.py $(ARGS)

.PHONY: clean
clean: ## remove the environment and caches; results/ and work/ stay
	rm -rf .venv .venv.old .venv.lock .venv.log .pytest_cache .hypothesis .mypy_cache .ruff_cache scripts/*.egg-info
	find scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
