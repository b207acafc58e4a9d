# Two commands for a newcomer: `make demo` and `make test`. Both make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test nightly campaign lint cards benchmark wheel clean

# A venv made once and again only when the dependencies change.
$(VENV)/.installed: setup.cfg setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m keras_genzoo.demo demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadscope

# What takes longer: every export, every number, every first epoch. `make nightly SHARD=2/5` runs the second fifth.
nightly: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist loadscope -m nightly $(if $(SHARD),--shard $(SHARD))

# What strangers, users and machines do to the zoo: 1,670 seeded cases, whose figures stand in the README.
campaign: $(VENV)/.installed
	$(BIN)/python -m tests.campaign

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The generated tables in the cards and the README, from preset.yaml, metrics.json and the benchmark's results.
cards: $(VENV)/.installed
	$(BIN)/python -m keras_genzoo.cards

benchmark: $(VENV)/.installed
	$(BIN)/python benchmarks/throughput.py --json benchmarks/results/throughput.json

# The wheel, in dist/. `make wheel CORE=1` builds the small one, which leaves most weights to be fetched.
wheel: $(VENV)/.installed
	rm -rf build
	CORE=$(CORE) $(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist demo *.egg-info
