# `make` alone explains the verbs. The same verbs run in CI (.ci/run).

# Variables of one call, such as `make demo SERVE=0 FRESH=1`:
SERVE ?= 1
FRESH ?= 0
PORT ?= 3000
API_PORT ?= 8000
DASHBOARD_PORT ?= 8501
PORTS = --port $(PORT) --api-port $(API_PORT) --dashboard-port $(DASHBOARD_PORT)
# Index for torch alone; the CPU build is far smaller than the one with CUDA:
# make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
# Python of the virtual environment: the first that is new enough, and not too new.
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
	>/dev/null 2>&1; then echo $$candidate; break; fi; done)

BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check fmt docs audit clean
.PHONY: bench bench-live bench-drift bench-gate bench-decision bench-api soak kills

help: ## Explain the verbs and variables
	@echo 'usage: make VERB [VARIABLE=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s%s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  SERVE=0         demo: end after the replay, serve nothing'
	@echo '  FRESH=1         demo: delete .demo and begin anew'
	@echo '  PORT=3000       run, demo: port of Dagster on 127.0.0.1'
	@echo '  API_PORT=8000, DASHBOARD_PORT=8501'
	@echo '                  run, demo: ports of the API and the dashboard; 0 leaves one out'
	@echo '  PYTHON=...      setup: Python 3.11 or newer, found by itself'
	@echo '  TORCH_INDEX=https://download.pytorch.org/whl/cpu'
	@echo '                  setup: take torch from this index, here without CUDA: a smaller download'

setup: $(STAMP) ## Make .venv with everything pinned; again when the pins change

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
	echo 'error: no Python 3.11 to 3.14 found (looked for python3.11 ... python3.14, python3, python)' >&2; \
	echo '  next: install one from your package manager or python.org, or name it: make setup PYTHON=/path/to/python3' >&2; \
	exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -U pip
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BIN)/python -m pip install -c constraints.txt -e '.[serve,bench,dev]'
	@touch $(STAMP)

run: setup ## Run on live data in .co2: a first tick, then Dagster, API and dashboard until Ctrl-C
	@exec $(BIN)/co2 run $(PORTS)

demo: setup ## Replay recorded weeks offline in .demo, then the same faces until Ctrl-C
	@exec $(BIN)/co2 demo $(PORTS) $(if $(filter 0 no false,$(SERVE)),--no-serve,--serve) $(if $(filter 1 yes true,$(FRESH)),--fresh)

test: setup ## Run the tests, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup ## Lint, format, types, the arrows between packages, the generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/co2 docs --check

fmt: setup ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## Write the generated pages of docs/
	$(BIN)/co2 docs

bench: setup ## Run the benchmarks
	$(BIN)/python -m bench

bench-live: setup ## Three months of real ticks beside a backtest, and without one dataset
	$(BIN)/python -m bench.live

bench-drift: setup ## Measure the retrain rule: false alarms, a stale model, broken feeds
	$(BIN)/python -m bench.drift

bench-gate: setup ## Measure how often the gate promotes challengers that are equal, and better
	$(BIN)/python -m bench.gate

bench-decision: setup ## Measure how much of a perfect choice of hours the forecast captures
	$(BIN)/python -m bench.decision

bench-api: setup ## Load the API while a replay writes: latency, errors, memory
	$(BIN)/python -m bench.api_load

audit: setup ## Ask PyPI for known vulnerabilities of what is pinned
	$(BIN)/python -m venv build/audit
	build/audit/bin/python -m pip install -q pip-audit
	build/audit/bin/pip-audit --disable-pip --no-deps -r constraints.txt

soak: setup ## Soak: 240 ticks under faults and kill -9, beside a home left in peace
	$(BIN)/python -m bench.soak

kills: setup ## Kill a writer of the warehouse 1,000 times
	$(BIN)/python -m bench.kills

clean: ## Delete .venv, caches and build outputs; .co2 and .demo stay
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache \
	.import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
