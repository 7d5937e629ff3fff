# Everything a developer types. `make help` lists it.
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHONS := 3.11 3.12 3.13
IS_RIGHT := import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())
# That of .venv, else the first that is here. PYTHON=… that is another than .venv's makes .venv anew.
PYTHON ?= $(shell for python in $(BIN)/python $(PYTHONS:%=python%) python3; do \
	$$python -c '$(IS_RIGHT)' 2> /dev/null && break; done; echo $$python)
EXACT = $(shell $(1) -c 'import sys; print(sys.hexversion)' 2> /dev/null || echo none)
IS_ANOTHER := $(and $(wildcard $(BIN)/python),$(filter-out $(call EXACT,$(BIN)/python),$(call EXACT,$(PYTHON))))
# No compiling: what is used is compiled when it is.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps
# uv is several times as quick, but does not know an index that only pip was told of.
QUICK_INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --system-certs --no-deps $(1) || $(PIP_INSTALL) $(1)
# What pip and uv say is shown if they fail, but for this.
UNREACHABLE := [Cc]onnection|[Cc]onnect error|name resolution|resolve|error sending request|timed out|unreachable|ProxyError
INSTALLED = { $(1); } 2> $(VENV)/install.log || { \
	if grep -qE '$(UNREACHABLE)' $(VENV)/install.log; then \
	echo "Paket tidak dapat diunduh: periksa jaringan, lalu ulangi. / Packages cannot be downloaded: look at the network," \
	"then try again. They come from PyPI, or from where PIP_INDEX_URL or pip.conf say. ($(VENV)/install.log)"; \
	else cat $(VENV)/install.log; fi >&2; exit 1; }
# one lock for all PYTHONS
LOCK := $(BIN)/uv pip compile --quiet --system-certs --generate-hashes --no-header \
	--universal --python-version $(firstword $(PYTHONS)) --fork-strategy fewest
# most tests wait for processes more than they compute, so more of them than cores
PYTEST_FLAGS ?= -n 5 --dist loadfile --no-loadscope-reorder
STUBS := services/stubs
OPC := contracts/opc/node_modules/.bin/opc

# Given on the command line, else these; the environment does not change them.
ORDER_OPENAPI = openapi/order.yaml
USER_OPENAPI = openapi/user.yaml
SECONDS = 600
SEED =
VERSION = $(or $(shell git rev-parse HEAD),$(error VERSION=… is missing: this is no git checkout))
BRANCH = $(or $(shell git branch --show-current),$(error BRANCH=… is missing: no branch is checked out))
ENVIRONMENT = production
IMAGE = restaurant/payment
# Address and token reach `pact` through its environment, so no token is ever shown.
BROKER = $(if $(PACT_BROKER_BASE_URL),PACT_DO_NOT_TRACK=true $(BIN)/pact broker,$(error \
	PACT_BROKER_BASE_URL=… is missing: the address of a Pact Broker))

# What is released: payment-$(RELEASE).* of the last commit, in dist/.
RELEASE = $(shell sed -n 's/^version = "\([^"]*\)".*/\1/p' services/payment/pyproject.toml)
SBOM = dist/payment-$(RELEASE).cdx.json
MAKE_SBOM = PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements requirements/otel.txt --pyproject services/payment/pyproject.toml \
	--output-reproducible --output-format JSON --output-file $(SBOM)
NOT_RELEASED = { echo "not released: $(1)" >&2; exit 2; }

# Else each of a hundred processes would compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run demo test tests lint types e2e check fmt bench bench-check screenshots lock clean contracts mutants verify-contracts compare-openapi up down chaos \
	release sbom audit \
	pact-publish can-i-deploy record-deployment ANOTHER_PYTHON

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## .venv with everything, the payment program included

$(VENV)/.installed: requirements/dev.txt services/payment/pyproject.toml contracts/pyproject.toml \
		$(if $(IS_ANOTHER),ANOTHER_PYTHON)
	@$(PYTHON) -c '$(IS_RIGHT)' 2> /dev/null || { echo "Perlu salah satu Python ini / one of these Pythons is needed:" \
		"$(PYTHONS). make PYTHON=/path/to/python$(lastword $(PYTHONS))" >&2; exit 1; }
	$(if $(IS_ANOTHER),,test -x $(BIN)/python ||) $(PYTHON) -m venv --clear $(VENV)
	sed -n '/^uv==/,/# via/p' requirements/dev.txt > $(VENV)/uv.txt
	@$(call INSTALLED,$(PIP_INSTALL) --require-hashes -r $(VENV)/uv.txt)
	@$(call INSTALLED,$(call QUICK_INSTALL,--require-hashes -r requirements/dev.txt))
	@$(call INSTALLED,$(call QUICK_INSTALL,--no-build-isolation -e services/payment -e contracts))
	$(BIN)/uv pip check --quiet --python $(BIN)/python
	@touch $@

$(VENV)/.deploy: requirements/deploy.txt $(VENV)/.installed
	@$(call INSTALLED,$(call QUICK_INSTALL,--require-hashes -r requirements/deploy.txt))
	@touch $@

run: install ## [KEYS=1: with API keys; QRIS=1: docs/qris.md; PORT=… ORDER_PORT=… USER_PORT=…] Payment on 5004 (SQLite), Order on 5003, User on 5001 (stubs); Ctrl-C ends all
	@$(BIN)/python services/run.py

demo: install ## [KEYS=1] make run with a database of its own, made anew: two sample weeks of a restaurant to look at
	@$(BIN)/python services/run.py demo

up: ## [AUTH=keys OBSERVE=1 PAYMENT_PORT=… ORDER_PORT=… USER_PORT=…] the whole stack in Docker, with OBSERVE=1 Prometheus and Grafana too; returns when all is healthy
	@$(PYTHON) deploy/taken_ports.py $(if $(OBSERVE),--profile observe)
	docker compose build
	docker compose $(if $(OBSERVE),--profile observe) up --detach --wait --wait-timeout 120
	@docker compose ps --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
	@at() { docker compose --profile observe port $$1 $$2 | sed 's/127.0.0.1/localhost/'; }; \
	echo; echo "  Payment  http://$$(at port 5004)   API: http://$$(at port 5004)/docs"; \
	echo "  Order    http://$$(at order 5003)   User  http://$$(at user 5001)   (stubs)"$(if $(OBSERVE),; \
	echo "  Grafana  http://$$(at grafana 3000)   Prometheus  http://$$(at prometheus 9090)/alerts")
	@test "$$(docker compose exec -T api printenv AUTH)" != keys || echo "  Kunci / a key: docker compose exec api \
	payment keys create --client kasir-1 --scope payments:read --scope payments:write"

down: ## end the stack, Prometheus and Grafana too; VOLUMES=1 also forgets the payments
	docker compose --profile observe down --remove-orphans $(if $(VOLUMES),--volumes)

test: lint ## everything that a change must pass
	@$(MAKE) --no-print-directory -j3 types tests

tests: $(VENV)/.compiled $(OPC)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

# Once for all test processes, each of which would compile everything for itself.
$(VENV)/.compiled: $(VENV)/.deploy
	$(BIN)/python -m pytest --collect-only --quiet > /dev/null || true # the tests say what is wrong
	@touch $@

e2e: install ## the Docker stack under restarts, kills and replicas; needs a Docker engine and ten minutes
	$(BIN)/python -m pytest tests/e2e -q

chaos: install ## [SECONDS=600 SEED=…] kill and break everything under load; is every promise kept?
	@PYTHONPATH=services/payment/tests $(BIN)/python tests/chaos/chaos.py \
		--seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

contracts: install ## regenerate contracts/*.json from the consumer interactions
	rm -rf contracts/.new && mkdir contracts/.new
	PACT_DO_NOT_TRACK=true PYTHONPATH=services/payment/tests/contract \
		$(BIN)/python services/payment/tests/contract/consumer.py contracts/.new
	rm -f contracts/*-*.json && mv contracts/.new/*.json contracts/ && rmdir contracts/.new

mutants: install ## a table: each small fault of the clients of Order and User, and the promise that notices it
	@PACT_DO_NOT_TRACK=true PYTHONPATH=services/payment/tests:services/payment/tests/contract \
		$(BIN)/python services/payment/tests/contract/mutants.py 2>/dev/null

verify-contracts: install ## ORDER_URL=… USER_URL=… [ORDER_ID= USER_ID= *_STATE_URL= *_PAYMENT_PATH=]
	@$(BIN)/verify-payment-contracts \
		--order-url "$(ORDER_URL)" --order-id "$(ORDER_ID)" \
		--order-state-url "$(ORDER_STATE_URL)" --order-path "$(ORDER_PAYMENT_PATH)" \
		--user-url "$(USER_URL)" --user-id "$(USER_ID)" \
		--user-state-url "$(USER_STATE_URL)" --user-path "$(USER_PAYMENT_PATH)"

compare-openapi: $(OPC) ## contracts beside OpenAPI files [ORDER_OPENAPI= USER_OPENAPI=: a provider's own]
	$(BIN)/node $(OPC) --oas $(ORDER_OPENAPI) contracts/payment-order.json
	$(BIN)/node $(OPC) --oas $(USER_OPENAPI) contracts/payment-user.json
	@grep -v '^      security:' openapi/payment.yaml > $(VENV)/open.yaml # as with AUTH=none: the contracts have no keys
	$(BIN)/node $(OPC) --oas $(VENV)/open.yaml contracts/restaurant-payment.json contracts/feed-payment.json

$(OPC): contracts/opc/package-lock.json | $(VENV)/.installed
	cd contracts/opc && PATH="$(BIN):$$PATH" npm ci --prefer-offline --no-audit --no-fund --loglevel=error
	@touch $@

pact-publish: install ## PACT_BROKER_BASE_URL=… [PACT_BROKER_TOKEN=] what we rely on, for this commit and branch
	@test -z "$$(git status --porcelain -- 'contracts/*.json')" \
		|| { echo "contracts/ differs from the commit that it would be published as" >&2; exit 2; }
	$(BROKER) publish contracts/payment-*.json --consumer-app-version $(VERSION) \
		--branch $(BRANCH)

can-i-deploy: install ## PACT_BROKER_BASE_URL=… [ENVIRONMENT=production] did Order and User verify this commit?
	$(BROKER) can-i-deploy --pacticipant payment --version $(VERSION) --to-environment $(ENVIRONMENT)

record-deployment: install ## PACT_BROKER_BASE_URL=… [ENVIRONMENT=production] this commit runs there now
	$(BROKER) record-deployment --pacticipant payment --version $(VERSION) --environment $(ENVIRONMENT)

check: lint types ## lint, format, types, import rules

lint: install
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet . || { echo "run: make fmt" >&2; exit 1; }
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.deploy
	$(BIN)/mypy services/payment/src services/payment/tests services/run.py deploy/taken_ports.py requirements/audit.py contracts/src examples
	$(BIN)/mypy tests
	$(BIN)/mypy $(STUBS)/order $(STUBS)/stub
	$(BIN)/mypy $(STUBS)/user
	$(BIN)/mypy $(STUBS)/qris
	$(BIN)/mypy bench

screenshots: $(VENV)/.deploy ## [PAGES="name=/path …"] pictures of the console on sample days into docs/pictures; needs a Chromium
	@PYTHONPATH=services/payment/tests $(BIN)/python services/payment/tests/pictures.py $(PAGES)

bench: install ## every measured claim, in about fifteen minutes; writes docs/benchmarks.md [BENCH="--rounds 3"]
	$(BIN)/python -m bench $(BENCH)

bench-check: install ## [ACCEPT=1] a payment's instructions beside the accepted ones; needs Valgrind and a minute
	@$(BIN)/python -m bench.check $(if $(ACCEPT),--accept)

release: $(VENV)/.deploy ## [IMAGE=restaurant/payment] the last commit as packages, chart, lock and SBOM in dist/, and as an image
	@test -z "$$(git status --porcelain)" || $(call NOT_RELEASED,something here is not committed)
	@grep -q '^## \[$(RELEASE)\] - ' CHANGELOG.md || $(call NOT_RELEASED,CHANGELOG.md has no [$(RELEASE)])
	@test -z "$$(awk '/^## /{in_it = /Unreleased/; next} in_it && NF' CHANGELOG.md)" \
		|| $(call NOT_RELEASED,CHANGELOG.md still has something under [Unreleased])
	rm -rf dist && mkdir -p dist/source
	git archive HEAD | tar -x -C dist/source
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --offline --no-build-isolation \
		--python $(BIN)/python --out-dir dist dist/source/services/payment
	tar -czf dist/payment-chart-$(RELEASE).tgz -C dist/source/deploy/helm payment
	cp requirements/otel.txt dist/payment-$(RELEASE).requirements.txt
	$(MAKE_SBOM)
	cd dist && sha256sum payment-* > SHA256SUMS
	@if docker info > /dev/null 2>&1; then docker build --quiet --file services/payment/Dockerfile --tag $(IMAGE):$(RELEASE) \
		--build-arg VERSION=$(RELEASE) --build-arg REVISION=$$(git rev-parse HEAD) dist/source; \
		else echo "NO IMAGE: no Docker engine answers; $(IMAGE):$(RELEASE) is still to be built" >&2; fi
	@rm -rf dist/source dist/.gitignore && ls dist

sbom: $(VENV)/.deploy ## what the image runs on, from its lock: dist/payment-….cdx.json (CycloneDX)
	@mkdir -p dist
	$(MAKE_SBOM)

audit: $(VENV)/.deploy ## known vulnerabilities in what the image runs on; needs the network, and says so without
	@$(BIN)/python requirements/audit.py

fmt: install ## format, and fix what can be fixed
	$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

lock: install ## requirements/*.in -> hashed *.txt, contracts/opc/package.json -> package-lock.json
	cd requirements && $(LOCK) -o payment.txt payment.in && $(LOCK) -o otel.txt otel.in \
		&& $(LOCK) -o build.txt build.in && $(LOCK) -o dev.txt dev.in \
		&& $(LOCK) --override override.txt -o deploy.txt deploy.in
	cd $(STUBS) && $(LOCK) -o requirements.txt requirements.in
	cd contracts && $(LOCK) -o requirements.txt requirements.in
	cd contracts/opc && PATH="$(BIN):$$PATH" npm install --package-lock-only --loglevel=error

clean: ## remove .venv, caches, dist/ and the local database
	rm -rf $(VENV) dist payment.db* payment-demo.db* .mypy_cache .ruff_cache .pytest_cache
	rm -rf contracts/opc/node_modules
	find services contracts bench -name __pycache__ -o -name '*.egg-info' | xargs rm -rf
