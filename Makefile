# Everything a newcomer needs: `make demo`, `make test`, `make check`. Each sets itself up.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-containers check format simulate fuzz chaos bench bench-endpoints bench-telemetry bench-deaths bench-peers docs lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements/dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(READY)  ## the virtual environment in .venv

demo: $(READY)  ## two models, two frameworks, one endpoint: direct, then serial, through boto3
	$(BIN)/polyport demo

test: $(READY)  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" -n auto

test-all: $(READY)  ## all tests, as CI runs them
	$(BIN)/python -m pytest -n auto

test-containers: $(READY)  ## the tests on real containers alone; they need Podman
	POLYPORT_REQUIRE_CONTAINERS=1 $(BIN)/python -m pytest -n auto -k "podman or docker"

check: $(READY)  ## ruff, mypy (strict) and the contracts between rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy bench
	$(BIN)/mypy fuzz
	$(BIN)/mypy chaos
	$(BIN)/mypy simulation
	$(BIN)/lint-imports

format: $(READY)  ## rewrites the files as `make check` wants them
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

simulate: $(READY)  ## 20,000 random histories of control in made-up time, crashes and all; about two minutes
	$(BIN)/python -m simulation

fuzz: $(READY)  ## what strangers may send, changed by chance and by what it reaches in the code; about a minute
	$(BIN)/python -m fuzz

chaos: $(READY)  ## kills, stops and starves a real server under load; a few minutes, CHAOS_SECONDS of them at random
	$(BIN)/python -m chaos

bench: $(READY)  ## Polyport beside nginx, HAProxy and Envoy: table, JSON and picture in .bench
	$(BIN)/python -m bench

bench-peers: $(READY)  ## Polyport beside Python servers that compose models (installs about 2 GB into .bench)
	$(BIN)/python -m bench.peers

bench-endpoints: $(READY)  ## 200 endpoints created at once, and what they cost at rest
	$(BIN)/python -m bench.endpoints

bench-telemetry: $(READY)  ## what 10,000 log lines a second cost, and how soon a call is in the metrics
	$(BIN)/python -m bench.telemetry

bench-deaths: $(READY)  ## from a container's death to its cause in DescribeEndpoint; about two minutes
	$(BIN)/python -m bench.deaths

docs: $(READY)  ## writes the reference pages that come from the code
	$(BIN)/python docs/generate.py

lock: $(READY)  ## resolves the locked dependencies again
	$(BIN)/uv pip compile --quiet --no-header --no-emit-index-url --no-annotate --universal --python-version 3.11 --generate-hashes \
		pyproject.toml --output-file requirements/base.txt
	$(BIN)/uv pip compile --quiet --no-header --no-emit-index-url --no-annotate --universal --python-version 3.11 --generate-hashes \
		pyproject.toml --group dev --constraint requirements/base.txt --output-file requirements/dev.txt

clean:  ## removes what the targets above made
	rm -rf $(VENV) .bench .chaos .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
