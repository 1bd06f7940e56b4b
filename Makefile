# Lethe: `make demo` runs the main job, `make test` passes the tests. Both set everything up themselves.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   ?= .venv-vllm
CHECKOV ?= .venv-checkov
RAY    ?= .venv-ray
# Two workers fill what waiting leaves (4 GiB each). `make test WORKERS=0`: all in one process.
WORKERS ?= 2
# torch's CPU build may lie where pip has been told to look (find-links); uv does not read pip's settings by itself.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
# Without it two OpenMP threads beside any other load ran up to 8 times slower (docs/results.md).
export OMP_WAIT_POLICY := PASSIVE
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false

.PHONY: help setup demo test cover chaos lint bench bench-serving bench-knowundo vllm bento bento-test requirements-cuda docs release chart-test ray-test clean

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
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# Counting lines more than doubles what the tests of pure Python take.
cover: $(STAMP) ## the same tests, with the share of lines and branches that they reach
	$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term $(ARGS)

chaos: $(STAMP) ## kill everything at every step, on SQLite and PostgreSQL (half an hour)
	$(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

lint: $(STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(STAMP) ## training (and its share of the chip's peak), subject search, verification, against their alternatives
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.chip
	$(BIN)/python -m benchmarks.subject_search
	$(BIN)/python -m benchmarks.verification

bench-knowundo: $(STAMP) ## every unlearning method on KnowUnDo (DATA=directory, ARGS="--quick")
	$(BIN)/lethe bench knowundo --data $(DATA) $(ARGS)
	$(BIN)/python -m benchmarks.told_apart $(DATA)

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

bento: $(STAMP) ## build the bentos (CPU, CUDA) into dist/, offline, the same bytes every time
	$(BIN)/python -m release.bento --out dist

bento-test: $(STAMP) ## a release twice, and a ticket through its bento as compose.yaml starts it (minutes)
	$(BIN)/python -m pytest tests/bento $(ARGS)

chart-test: $(STAMP) vllm $(CHECKOV)/.installed ## the chart: schemas, rules with their seeded defects, the pods' own commands, checkov (minutes)
	$(BIN)/python -m tests.chart.seeding
	$(BIN)/python -m pytest tests/chart $(ARGS)
	$(BIN)/python -m tests.chart.checkov $(CHECKOV)/bin/checkov

$(CHECKOV)/.installed: | $(BIN)/uv
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(CHECKOV)
	VIRTUAL_ENV=$(CHECKOV) $(BIN)/uv pip install -q checkov==3.3.30
	touch $@

ray-test: $(RAY)/.installed ## the port to other machines on a local Ray cluster (in $(RAY))
	$(RAY)/bin/python -m pytest tests/contract/test_spread.py $(ARGS)

$(RAY)/.installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(BIN)/uv venv -q --clear --python $(PYTHON) $(RAY)
	VIRTUAL_ENV=$(RAY) $(BIN)/uv pip install -q -c constraints.txt -e '.[dev,ray]'
	touch $@

requirements-cuda: $(STAMP) ## lock anew what torch needs for CUDA
	echo '# requirements.txt with what torch needs for CUDA; written by `make requirements-cuda`.' > requirements-cuda.txt
	env -u UV_FIND_LINKS $(BIN)/uv pip compile -q --no-config --no-annotate --no-header --python $(BIN)/python requirements.txt >> requirements-cuda.txt

docs: $(STAMP) ## the documentation as a site in site/; stops at any warning
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

release: $(STAMP) docs ## sdist, wheel, bentos, chart package, SBOM, licences and their digests into dist/release/
	rm -rf dist/release
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m release.build --out dist/release

clean: ## remove what demo and tests made (not the virtual environment)
	rm -rf .lethe .cache
