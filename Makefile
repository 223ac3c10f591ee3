# Everything a developer runs. `make` alone lists the targets.
# Recipes use relative paths only, so the checkout may stand in a folder with spaces in its name.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := export,cpu,rtx,camera,ray,sign,dev
CORE_VENV := .venv-core
PIP := -m pip --disable-pip-version-check -qq

# $(call new_venv,DIR): a virtual environment of $(PYTHON), which must be a Python that the project supports;
# an environment of another version, or one that no longer runs, is made anew.
define new_venv
$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else \
"resnest-edge needs Python 3.10 to 3.13 and $(PYTHON) is %d.%d; for example: make setup PYTHON=python3.11" % v)'
tag='import sys; print(*sys.version_info[:2])'; \
if [ "$$($(1)/bin/python -c "$$tag" 2>&1)" != "$$($(PYTHON) -c "$$tag")" ]; then \
  echo "Making $(1) with $$($(PYTHON) --version)"; \
  $(PYTHON) -m venv --clear $(1) || { echo "No venv module? On Debian: apt-get install python3-venv" >&2; exit 2; }; \
fi
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## Install everything into .venv at the pinned versions (a second run does nothing)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(call new_venv,$(VENV))
	@echo "Installing resnest-edge[$(EXTRAS)] into $(VENV) (the first time takes a few minutes)"
	@$(BIN)/python $(PIP) install --upgrade pip -c constraints.txt
	@$(BIN)/python $(PIP) install -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@
	@echo "Ready: $(BIN)/resnest-edge --help"

.PHONY: demo
demo: setup ## Build, measure and report the embedded demo model on this machine (reports/demo)
	@scripts/demo.sh

.PHONY: check
check: setup ## Lint, format, types, architecture, CLI reference: what CI checks before the tests
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy resnest_edge scripts benchmarks tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/cli_reference.py --check
	$(BIN)/python scripts/report_schema.py --check

.PHONY: fix
fix: setup ## Apply ruff's safe fixes and format, and refresh docs/cli.md and docs/schema
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .
	$(BIN)/python scripts/cli_reference.py
	$(BIN)/python scripts/report_schema.py

.PHONY: test
test: setup ## Run the tests that need no GPU and no patience
	$(BIN)/python -m pytest -m "not slow and not gpu"

.PHONY: test-full
test-full: setup ## Run every test that needs no GPU
	$(BIN)/python -m pytest -m "not gpu"

.PHONY: fuzz
fuzz: setup ## Fuzz the readers of files with 100,000 inputs; the log is reports/fuzz.log
	$(BIN)/python -W error -m tests.fuzz --inputs 100000 | tee reports/fuzz.log

GPU ?= here
GPU_ARGS ?=

.PHONY: gpu-check
gpu-check: setup ## With an NVIDIA GPU: test engines, measure into reports/gpu-NAME (GPU=NAME, GPU_ARGS='--variant ...')
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m benchmarks.gpu --name "$(GPU)" $(GPU_ARGS)

.PHONY: soak
soak: setup ## Play an hour's worth of camera frames through the stream; fails unless memory stays flat
	$(BIN)/python -m benchmarks.soak --log reports/soak.log

.PHONY: cpp-check
cpp-check: setup ## Compile examples/cpp and compare its answers with Python's (fetches ONNX Runtime's headers: 150 MB)
	scripts/onnxruntime_sdk.sh build/onnxruntime
	ONNXRUNTIME_ROOT=build/onnxruntime $(BIN)/python -m pytest tests/examples

VARIANT ?= resnest50
BENCH_ARGS ?=

.PHONY: bench
bench: setup ## Measure others' engines and ours side by side into reports/peers/VARIANT (BENCH_ARGS='--weights ...')
	@$(BIN)/python $(PIP) install -e '.[$(EXTRAS),bench]' -c constraints.txt
	$(BIN)/python -m benchmarks.peers $(VARIANT) --out reports/peers/$(VARIANT) $(BENCH_ARGS)

BUILD_IMAGES ?= demo:train

.PHONY: bench-build
bench-build: setup ## Measure building beside NNCF's quantize into reports/build (BUILD_IMAGES=DIR, BENCH_ARGS='--weights ...')
	@$(BIN)/python $(PIP) install -e '.[$(EXTRAS),bench]' -c constraints.txt
	$(BIN)/python -m benchmarks.build $(VARIANT) --images "$(BUILD_IMAGES)" $(BENCH_ARGS)

.PHONY: test-core
test-core: ## Install without extras into .venv-core (PYTHON=python3.13 chooses) and test what must work so
	@$(call new_venv,$(CORE_VENV))
	@$(CORE_VENV)/bin/python $(PIP) install -e . pytest hypothesis -c constraints.txt
	$(CORE_VENV)/bin/python -m pytest --core -m "not slow and not gpu"

.PHONY: wheel
wheel: ## Build the wheel into dist/
	@$(call new_venv,$(CORE_VENV))
	$(CORE_VENV)/bin/python $(PIP) wheel --no-deps --wheel-dir dist .

.PHONY: wheel-test
wheel-test: ## Install the wheel into an empty environment (PYTHON=python3.12 chooses) and run the demo there
	@PYTHON="$(PYTHON)" scripts/wheel_test.sh

.PHONY: clean
clean: ## Remove what the targets above made, except the environments
	rm -rf build dist reports/demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove the environments as well
	rm -rf $(VENV) $(CORE_VENV)
