# Lethe: `make demo` runs the main job, `make test` passes the tests. Both set everything up themselves.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   ?= .venv-vllm
# Two workers fill what waiting leaves (4 GiB each). `make test WORKERS=0`: all in one process.
WORKERS ?= 2
# torch's CPU build may lie where pip has been told to look (find-links); uv does not read pip's settings by itself.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
# Without it two OpenMP threads beside any other load ran up to 8 times slower (docs/results.md).
export OMP_WAIT_POLICY := PASSIVE
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false

.PHONY: help setup demo test lint bench bench-serving bench-knowundo vllm clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(STAMP) ## create the virtual environment and install everything

$(BIN)/uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv -c constraints.txt

$(STAMP): pyproject.toml constraints.txt | $(BIN)/uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --compile-bytecode -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP) ## one erasure ticket, from filing to a verified adapter that is live (ARGS="--people 16 --erase 3")
	$(BIN)/lethe demo $(ARGS)

test: $(STAMP) ## all tests, real components included
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(STAMP) ## every figure that the README quotes
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.subject_search
	$(BIN)/python -m benchmarks.verification

bench-knowundo: $(STAMP) ## every unlearning method on KnowUnDo (DATA=directory, ARGS="--quick")
	$(BIN)/lethe bench knowundo --data $(DATA) $(ARGS)

bench-serving: $(STAMP) vllm ## what the gateway costs, swaps under load, a fleet, suppression; both engines
	$(BIN)/python -m benchmarks.serving --engine transformers
	$(BIN)/python -m benchmarks.serving --engine vllm
	$(BIN)/python -m benchmarks.swaps --engine transformers
	$(BIN)/python -m benchmarks.swaps --engine vllm
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.fleet --engine vllm --replicas 2
	$(BIN)/python -m benchmarks.suppression hits
	$(BIN)/python -m benchmarks.suppression cost

vllm: $(VLLM)/.installed ## a real vLLM for the tests (CPU build, 2.3 GB, in $(VLLM))

# Made whole or not at all; what does not match its hash is refused. Without a place to find torch's CPU build, uv knows one.
$(VLLM)/.installed: requirements-vllm.txt | $(BIN)/uv
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(VLLM)
	VIRTUAL_ENV=$(VLLM) $(BIN)/uv pip install -q --require-hashes --no-deps $(if $(UV_FIND_LINKS),,--torch-backend cpu) -r $<
	touch $@

clean: ## remove what demo and tests made (not the virtual environment)
	rm -rf .lethe .cache
