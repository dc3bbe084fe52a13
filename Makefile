# Everything installs itself into .venv and, for real builders, into the testbed's cache. Debian 12 or later, as root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help dev lint test test-fast test-real demo bench bench-exporter screenshot proto clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get -qq update && apt-get -qq install -y python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

dev: $(INSTALLED) ## set up the virtual environment

lint: $(INSTALLED) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fast: $(INSTALLED) ## the tests that need no Docker
	$(BIN)/python -m pytest -n $(WORKERS) tests

test-real: $(INSTALLED) ## the tests on real builders; needs root
	$(BIN)/python -m integration.testbed packages >/dev/null
	$(BIN)/python -m pytest -n $(WORKERS) integration

test: $(INSTALLED) ## set up, and run all tests in one go; needs root
	$(BIN)/python -m integration.testbed packages >/dev/null
	$(BIN)/python -m pytest -n $(WORKERS) tests integration

demo: $(INSTALLED) ## check a throw-away builder, kill one of its hosts, and check again; needs root
	$(BIN)/python -m integration.demo

bench: $(INSTALLED) ## measure bxhealth beside docker buildx inspect, then the exporter; 15 minutes, needs root
	$(BIN)/python -m integration.bench $(WRITE)
	$(BIN)/python -m integration.bench_exporter

bench-exporter: $(INSTALLED) ## measure the exporter: scrapes, CPU beside blackbox_exporter, memory; 10 minutes
	$(BIN)/python -m integration.bench_exporter

screenshot: $(INSTALLED) ## take the picture of the exporter's page anew
	$(BIN)/python -m integration.screenshot

proto: $(INSTALLED) ## make BuildKit's messages from control.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. bxhealth/buildkit/control.proto

clean: ## remove what the other targets have made here; the testbed's cache stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
