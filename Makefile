# Two commands do everything on a machine with Python 3.10+ and make:  make demo   and   make test
# PYTHON picks the interpreter the environment is made from; TORCH the build of torch (any 2.11 to 2.13 works).
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
MODEL ?= smollm2
PORT ?= 30000
WORKERS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install model demo serve test lint bench clean

install: $(READY)

$(READY): pyproject.toml
	@echo "Creating $(VENV) and installing (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all,test,bench]"
	@touch $@

model: $(READY)
	@$(BIN)/sglang models fetch smollm2

demo: model
	@$(BIN)/python examples/demo.py

serve: $(READY)
	@$(BIN)/python -m sglang.launch_server --model-path $(MODEL) --port $(PORT)

# Two at a time: most tests use one thread. WORKERS=0 runs them one after the other, in this process.
test: model lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: model
	@$(BIN)/python -m benchmarks.engine
	@$(BIN)/python -m benchmarks.radix_lookup
	@$(BIN)/python -m benchmarks.run_batch

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
