# Everything a clone needs: `make demo` and `make test` set up what they use by themselves. `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIENTS := $(VENV)/clients
CLIENTS_STAMP := $(CLIENTS)/.installed
PYTEST := $(BIN)/pytest
UV ?= uv
KEEP ?=

.PHONY: help demo test test-system image image-test test-long torture bench lint coverage mutants check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## the story of an agent that strays, on real parts; KEEP=DIR keeps the evidence
	@$(BIN)/intent-proxy demo $(if $(KEEP),--keep "$(KEEP)")

test: $(STAMP) ## tests that need no root and no system packages (≤ 6 minutes on two cores)
	@$(PYTEST) -m "not system and not long" -n 2 --dist loadfile --no-loadscope-reorder --durations=15

test-system: $(STAMP) $(CLIENTS_STAMP) ## tests with networks, foreign programs, faults and the whole demo (≤ 10 minutes)
	@$(PYTEST) -m "system and alone and not long" -n 2 --dist loadfile --no-loadscope-reorder --durations=15
	@$(PYTEST) -m "system and not alone and not long" -n 3 --dist loadfile --no-loadscope-reorder --durations=15

image: ## the container image, by docker, podman or buildah: intent-proxy
	@for program in docker podman buildah; do \
		if $$program info >/dev/null 2>&1; then exec $$program build --build-arg "REVISION=$$(git rev-parse HEAD 2>/dev/null)" -t intent-proxy .; fi; \
	done; echo "make image needs docker with its daemon running, podman, or buildah" >&2; exit 1

image-test: $(STAMP) ## build the image and run it: by itself, and by the Compose files; part of test-system
	@$(PYTEST) tests/image

test-long: $(STAMP) ## torture, soak, image and mutants
	@HYPOTHESIS_PROFILE=long $(PYTEST) -m long --timeout 3600 || [ $$? -eq 5 ]

torture: $(STAMP) ## kills, power failures, lives and reloads in their long form; part of test-long
	@$(PYTEST) -m long tests/torture -s --timeout 3600

bench: $(STAMP) ## latency and cost, printed with the machine they were measured on
	@$(BIN)/python -m bench

lint: $(STAMP) ## format, ruff, mypy strict, and which room may import which
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

coverage: $(STAMP) ## branch coverage of proxy.core by its own tests: 100 % or failure
	@COVERAGE_FILE=$(VENV)/.coverage $(BIN)/coverage run -m pytest tests/core
	@COVERAGE_FILE=$(VENV)/.coverage $(BIN)/coverage report --skip-covered

mutants: $(STAMP) ## changes to the rooms that decide, and whether their tests notice: 90 % or failure (about an hour)
	@rm -rf mutants
	@HYPOTHESIS_PROFILE=mutants $(BIN)/mutmut run >$(VENV)/mutants.log 2>&1 || { tail -c 4000 $(VENV)/mutants.log; exit 1; }
	@$(BIN)/python tests/support/mutation.py --alive

check: lint coverage test ## all of it, as before a commit

lock: ## pin every dependency anew, with hashes (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@$(UV) pip compile -q pyproject.toml --extra server --generate-hashes --universal --python-version 3.12 \
		--custom-compile-command "make lock" -o requirements.lock
	@$(UV) pip compile -q pyproject.toml --extra server --group dev -c requirements.lock --generate-hashes --universal \
		--python-version 3.12 --custom-compile-command "make lock" -o requirements-dev.lock
	@$(UV) pip compile -q tests/clients/requirements.txt --generate-hashes --universal --python-version 3.12 \
		--custom-compile-command "make lock" -o requirements-clients.lock

clean: ## remove the environment and every cache
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis mutants
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: made once, with every hash checked, and made anew when what is pinned changes.
$(STAMP): requirements-dev.lock pyproject.toml
	@python=; \
	for candidate in $${PYTHON:-python3.13 python3.12 python3 /usr/bin/python3 python3.14}; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "intent-proxy needs Python 3.12 or newer; found $$(python3 -V 2>&1 | tail -n 1)." \
			"Install python3.12 with its venv module, or name one: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python has no venv module: on Debian and Ubuntu, apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" -V): a minute or two, once." >&2; \
	"$$python" -m venv --clear $(VENV); \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.lock; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Foreign clients and origins, for make test-system alone: Python's and, where there is npm, Node.js's.
$(CLIENTS_STAMP): $(STAMP) requirements-clients.lock tests/clients/package-lock.json
	@echo "Making $(CLIENTS): a minute, once." >&2
	@$(BIN)/python -m venv --clear $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-clients.lock
	@if command -v npm >/dev/null; then \
		cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)/; \
		npm ci --prefix $(CLIENTS) --silent --no-audit --no-fund --ignore-scripts; \
	else echo "no npm: Node.js clients are left out" >&2; fi
	@touch $@
