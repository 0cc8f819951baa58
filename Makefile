# Every target can be repeated: it is quiet when nothing is to do, and says what is missing when something is.
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

VENV := .venv
JOBS := 2
BIN := $(VENV)/bin
PYTHON ?= $(shell sh scripts/python.sh)
UI_SOURCES := $(shell find ui -type f -not -path '*/node_modules/*' 2>/dev/null)
PAGE := rundial/server/static/index.html

.PHONY: help setup demo test test-pythons test-more check format bench guard soak soak-server docs ui clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: $(VENV)/.dev ui ## make .venv, install Rundial and its tools into it, build the page
	@:

demo: setup ## train a small model and watch it: DEMO_SECONDS=20 ends by itself
	@$(BIN)/python examples/demo.py

test: setup $(VENV)/.frameworks ## run every storey of the tests, JOBS (2) files at a time; names those that cannot run here
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(TESTS)

test-pythons: ## run the SDK's own tests under Python 3.12 and 3.13, where they are found
	@sh scripts/test-pythons.sh 3.12 3.13

test-more: ## run the adapters that want environments of their own; MORE="catboost ray" for some
	@sh scripts/test-more.sh $(MORE)

check: $(VENV)/.frameworks ## format, lint, types and import contracts; types of the page
	@sh scripts/check.sh

format: $(VENV)/.dev ## let ruff format the code and sort the imports
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --select I --fix .

bench: setup ## measure Rundial beside its peers, and the server on both databases; about an hour
	@$(BIN)/python benchmarks/peers.py --setup
	@$(BIN)/python benchmarks/log_call.py
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/server_ingest.py
	@$(BIN)/python benchmarks/server_reads.py
	@$(BIN)/python benchmarks/server_runs.py
	@$(BIN)/python benchmarks/server_live.py

guard: setup ## fail when the hot path or the bounds of the spool have regressed; under a minute
	@$(BIN)/python benchmarks/guard.py

soak: setup ## kill, corrupt, fork and misbehave for SOAK_MINUTES (60), then print what was lost
	@$(BIN)/python benchmarks/soak.py

soak-server: setup ## kill the server SOAK_KILLS (200) times under eight writers, on each engine, then look for everything
	@$(BIN)/python benchmarks/server_soak.py

docs: setup ## check that the docs are complete, their links resolve and their code runs
	@$(BIN)/python -m pytest -q tests/docs

ui: ## build the page into rundial/server/static; needs Node 20 or newer
	@if sh scripts/node.sh; then $(MAKE) -s $(PAGE); fi

clean: ## delete what the other targets made, the environments included
	rm -rf .venv .venv-* .demo dist ui/node_modules rundial/server/static benchmarks/.venvs tests/ui/screenshots
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.dev: pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh "$(PYTHON)" $(VENV) dev

$(VENV)/.frameworks: $(VENV)/.dev
	@sh scripts/setup.sh "$(PYTHON)" $(VENV) frameworks

$(PAGE): $(UI_SOURCES)
	@echo "ui: building the page"
	@cd ui && { [ node_modules -nt package-lock.json ] || { npm ci --silent --no-audit --no-fund && touch node_modules; }; }
	@cd ui && npm run --silent build
	@touch $@
