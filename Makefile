# Everything a person needs to run, prove and change calbus. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Processes that share the suite, each with engines of its own: one more than two cores, since what runs on engines
# waits for half of its time.
WORKERS ?= 3

# Where this is set, every program compiles whatever it imports anew: a service starts in 2.3 s instead of 0.8, and the
# suite starts more than a hundred.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements-uv.lock requirements-dev.lock pyproject.toml
	@echo "Preparing $(VENV) (once; about half a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "calbus needs Python 3.11 or newer: set PYTHON=python3.x")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements-uv.lock requirements-dev.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: $(READY) ## Start everything, publish a recorded day, show the calendars, judge the result
	@$(BIN)/calbus demo $(ARGS)

.PHONY: test
test: $(READY) ## Prove it: the suite on real Kafka, real PostgreSQL and the simulator
	@$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-slow
test-slow: $(READY) ## What takes long: sizes and examples that `make test` leaves out
	@HYPOTHESIS_PROFILE=thorough $(BIN)/pytest -m "(slow or hypothesis) and not image and not ops" $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure writer and ingest beside what people would use instead (40 minutes); into bench/results/
	@for scenario in rates skew one-mailbox idle steady two-writers growth memory capacity; do $(BIN)/python -m bench $$scenario || exit 1; done
	@$(BIN)/python -m bench.ingest --events 20000 --rounds 5
	@$(BIN)/python bench/capacity_tables.py

.PHONY: check
check: $(READY) ## Lint, format, strict types, import contracts, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell

.PHONY: test-ops
test-ops: $(READY) ## Alerts and dashboards, on the real Prometheus and Alertmanager (Debian's packages)
	@$(BIN)/pytest -m ops $(ARGS)

.PHONY: ops
ops: $(READY) ## Write the dashboards and the page of metrics anew
	@$(BIN)/python -m ops.dashboards
	@$(BIN)/python -m calbus.metrics_doc

.PHONY: docs
docs: $(READY) ## Write the badges and the lists of runbooks and decisions anew
	@$(BIN)/python -m ops.badges
	@$(BIN)/python -m ops.indexes

.PHONY: pictures
pictures: $(READY) ## Make the README's pictures anew: the demo in a browser, and a dashboard (five minutes)
	@$(BIN)/python -m ops.pictures

.PHONY: fmt
fmt: $(READY) ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: schemas
schemas: $(READY) ## Write JSON Schemas and the AsyncAPI document anew from the models
	@$(BIN)/python -m schemas.generate

.PHONY: manifests
manifests: $(READY) ## Write the PrometheusRule of k8s/ anew from ops/alerts; RUNBOOKS=https://… says where runbooks are
	@$(BIN)/python -m ops.prometheus_rule $(if $(RUNBOOKS),--runbooks '$(RUNBOOKS)')

.PHONY: image
image: ## Build the container images, with docker, podman or buildah
	@ops/image/build.sh

.PHONY: test-image
test-image: $(READY) ## Build the images on a Debian of its own, see an event arrive through them (root; twenty minutes)
	@$(BIN)/pytest -m image tests/image $(ARGS)

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
.PHONY: lock
lock: $(READY) ## Write the lock files anew (needs the package index)
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) --extra dev pyproject.toml -o requirements-dev.lock
	@echo uv | $(LOCK) - -o requirements-uv.lock
	@printf 'cyclonedx-bom\nhatchling\npip\n' | $(LOCK) - -c requirements-dev.lock -o requirements-image.lock
	@printf 'opentelemetry-exporter-otlp-proto-http\nopentelemetry-sdk\n' | $(LOCK) - -c requirements-dev.lock -o requirements-traces.lock
	@printf 'pyjwt\ntrustme\n' | $(LOCK) - -c requirements-dev.lock -o requirements-simulator.lock

.PHONY: clean
clean: ## Remove the virtual environment and every cache (also the downloaded Kafka)
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
