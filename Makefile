# Two commands on a fresh machine with Python 3.11+: `make demo` and `make test`.
# Each makes its own virtual environment under the versions of constraints.txt.
#
# On Linux without a GPU, PyPI's torch brings CUDA packages along.  Name an index that holds the CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
INDEX := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.PHONY: demo test test-all lint format bench figures clean

demo: $(VENV)/.demo
	$(BIN)/fedprune demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n auto -m "" --flush

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/typing && ln -sfn ../../cli build/typing/fedprune_cli
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(VENV)/.test
	$(BIN)/python scripts/security_figures.py
	$(BIN)/python scripts/station_figures.py
	$(BIN)/python scripts/audit_figures.py
	$(BIN)/python scripts/he_figures.py

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks --out benchmarks/results/latest.json

clean:
	rm -rf $(VENV) build demo-out *.egg-info

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(INDEX) torch
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,data]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,data,metrics,dp,he,test,lint]'
	touch $@
