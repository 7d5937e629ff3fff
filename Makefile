# Everything a developer types. `make help` lists it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
LOCK := $(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
PYTEST_FLAGS ?= -n 2 --dist worksteal
STUBS := services/stubs/order services/stubs/user
SOURCES := services bench

.DEFAULT_GOAL := help
.PHONY: help install run test check fmt lock clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## .venv with everything, the payment program included

$(VENV)/.installed: requirements/dev.txt services/payment/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Python 3.11 diperlukan / is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e services/payment
	@touch $@

run: install ## Payment on 5004 (SQLite), Order on 5003 and User on 5001 (stubs); Ctrl-C ends all
	@$(BIN)/python services/run.py

test: check ## everything that a change must pass
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: install ## lint, format, types, import rules
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet . || { echo "run: make fmt" >&2; exit 1; }
	$(BIN)/mypy services/payment/src services/payment/tests services/run.py
	for stub in $(STUBS); do $(BIN)/mypy $$stub || exit 1; done
	$(BIN)/mypy bench
	$(BIN)/lint-imports

fmt: install ## format, and fix what can be fixed
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

lock: install ## requirements/*.in -> hashed *.txt
	cd requirements && $(LOCK) -o payment.txt payment.in && $(LOCK) -o dev.txt dev.in
	for stub in $(STUBS); do (cd $$stub && $(LOCK) -o requirements.txt requirements.in) || exit 1; done

clean: ## remove .venv, caches and the local database
	rm -rf $(VENV) payment.db payment.db-wal payment.db-shm .mypy_cache .ruff_cache .pytest_cache
	find services bench -name __pycache__ -o -name '*.egg-info' | xargs rm -rf
