# Everything sets itself up: a virtual environment in .venv with exactly what requirements.lock pins.
# Needed beforehand: CPython 3.11 or later with pip, git, make.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV ?= uv
LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-header pyproject.toml -
BUILD_REQUIRES := python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format typecheck bench chaos soak clients lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install chatq into it

demo: $(INSTALLED) ## Run 346 prompts through Redis, a worker and simulated providers
	@$(BIN)/chatq demo

test: lint typecheck ## Lint, type-check and test
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -p tests.parallel -n auto

lint: $(INSTALLED) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Format the code, and fix what can be fixed by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(INSTALLED) ## Check the types
	$(BIN)/mypy

bench: $(INSTALLED) ## Measure throughput, latency and memory (minutes; not part of the tests)
	$(BIN)/python -m benchmarks

chaos: $(INSTALLED) ## Hurt it at random and check it: make chaos MINUTES=3 SEED=1
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED))

soak: $(INSTALLED) ## Run a steady high load and see that nothing grows: make soak MINUTES=10
	$(BIN)/python -m tests.chaos.soak --minutes $(or $(MINUTES),10)

clients: $(INSTALLED) ## Try further real clients, from PyPI and npm: make clients NAMES="litellm promptfoo"
	$(BIN)/python -m tests.clients.more $(NAMES)

lock: ## Pin all dependencies anew in requirements.lock (needs uv)
	$(BUILD_REQUIRES) | $(LOCK) --all-extras --output-file requirements.lock
	$(BUILD_REQUIRES) | $(LOCK) --output-file deploy/requirements.lock

clean: ## Remove .venv and everything that was generated
	rm -rf $(VENV) out build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is newer than what it was made from, so an unchanged checkout installs nothing. The build backend
# is in the lock as well: no step fetches anything that is not pinned by its hash.
$(INSTALLED): requirements.lock pyproject.toml
	@set -e; found=; \
	for python in python3.11 python3.12 python3.13 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then echo "chatq needs CPython 3.11 or later: no such python3 is on PATH" >&2; exit 1; fi; \
	echo "installing into $(VENV) with $$($$found --version)"; \
	$$found -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
