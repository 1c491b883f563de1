# Two commands do everything a newcomer needs: `make demo` and `make test`.
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test serve check bench bench-learning bench-gate protos lock format clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## install everything into .venv and prepare the models (the others do this by themselves)
	@scripts/setup

demo: setup ## run the whole loop on real parts and write demo-report/index.html
	@$(BIN)/ratchet demo --out demo-report

test: setup ## run the tests, in as many processes as there are cores, at most four
	@$(BIN)/python -m pytest -n auto --maxprocesses 4

serve: setup ## run server and learner on this machine
	@$(BIN)/ratchet up

check: setup ## ruff, mypy strict, import-linter, buf lint / format / breaking
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint && $(BIN)/buf format -d --exit-code --exclude-path proto/buf > /dev/null
	$(BIN)/buf breaking --against proto/baseline.binpb

bench: setup ## benchmarks: ratios taken side by side
	@for b in tests/benchmarks/*.py; do echo "== $$b"; $(BIN)/python $$b; done

bench-learning: setup ## every training method against its yardstick, and beside TRL's trainers; about an hour
	@$(BIN)/python -m tests.benchmarks.learning
	@$(BIN)/python -m tests.benchmarks.learning.beside_trl

bench-gate: setup ## size and power of the gate, detection delay of rollouts, simulated; then six adapters before the real gate
	@$(BIN)/python tests/benchmarks/gate.py
	@$(BIN)/python tests/benchmarks/rollout.py
	@$(BIN)/python -m tests.benchmarks.six

protos: setup ## regenerate the stubs from proto/
	@scripts/protos

lock: setup ## resolve requirements/cpu.lock anew
	@scripts/lock

format: setup ## ruff and buf format
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/buf format -w --exclude-path proto/buf

clean: ## remove what was generated here (not the model cache)
	rm -rf $(VENV) demo-report bench-report .pytest_cache .mypy_cache .ruff_cache
