PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow lint clean

demo: $(VENV)/.installed  ## set up and run the main job on embedded data, no network needed after installation
	env -u OMP_NUM_THREADS $(BIN)/ganbench run --variants gan,lsgan,wgan,wgan-gp,began --dataset digits

test: $(VENV)/.installed-dev lint  ## set up, lint, type-check and test
	$(BIN)/pytest -n 2 -m "not slow and not gpu"

test-slow: $(VENV)/.installed-dev  ## everything that takes minutes
	$(BIN)/pytest -n 2 -m "slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e .
	touch $@

EXAMPLE := tests/example_plugin/pyproject.toml tests/example_plugin/src/ganbench_example.py

$(VENV)/.installed-dev: pyproject.toml $(EXAMPLE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e ".[dev]"
	$(BIN)/pip install -q ./tests/example_plugin
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info
