# Two commands do everything on a machine with Python 3.10+ and make:  make demo   and   make test
# PYTHON picks the interpreter the environment is made from; TORCH the build of torch (any 2.11 to 2.13 works).
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
MODEL ?= smollm2
PORT ?= 30000
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
READY := $(VENV)/.ready
NATIVE := CMakeLists.txt $(shell find csrc -type f)

.PHONY: install model demo serve test lint bench sanitize clean

install: $(READY)

# The backend builds in this environment rather than in one of its own, so that only what changed is compiled again. It
# says itself whether it needs cmake and ninja.
$(READY): pyproject.toml $(NATIVE)
	@echo "Creating $(VENV) and installing (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) "$(TORCH)" scikit-build-core
	@$(PIP) nanobind $$($(BIN)/python -c "import scikit_build_core.build as b; print(*b.get_requires_for_build_editable())")
	@$(PIP) --no-build-isolation --editable ".[all,test,bench]"
	@$(BIN)/python -c "from sglang.srt.kernels.native import choose_kernels; print(choose_kernels())"
	@touch $@

model: $(READY)
	@$(BIN)/sglang models fetch smollm2

demo: model
	@$(BIN)/python examples/demo.py

serve: $(READY)
	@$(BIN)/python -m sglang.launch_server --model-path $(MODEL) --port $(PORT)

# Two at a time: most tests use one thread. WORKERS=0 runs them one after the other, in this process. A worker that died
# is not replaced: its queue of files may wait for it without end.
test: model lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# Our engine alone, in a few minutes. Each driver can do more, and measure peers beside it: see its --help.
# Random work on the native kernels of every level this machine has, watched by the sanitizers: ROUNDS of it, with a
# fresh SEED unless one is given. Needs cmake and GCC or Clang, no Python; takes a few minutes the first time.
SANITIZERS := address,undefined thread
ROUNDS ?= 30
SEED ?=
sanitize:
	@export PATH="$(abspath $(BIN)):$$PATH"; for sanitizer in $(SANITIZERS); do \
		build=build/sanitize-$$sanitizer && \
		cmake -S csrc/sanitize -B $$build -DSANITIZE=$$sanitizer >/dev/null && \
		cmake --build $$build --parallel 2 && \
		$$build/exercise $(ROUNDS) $(SEED) && echo "nothing found by $$sanitizer" || exit 1; \
	done

bench: model
	@set -e; for driver in single "batch --http" prefill shared_prefix json programs startup memory; do \
		$(BIN)/python -m benchmarks.$$driver --quick --peers none; \
	done
	@$(BIN)/python -m benchmarks.overhead --quick
	@$(BIN)/python -m benchmarks.ablations --quick
	@$(BIN)/python -m benchmarks.radix_lookup
	@$(BIN)/python -m benchmarks.run_batch

clean:
	rm -rf $(VENV) build sglang/srt/kernels/_native.*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
