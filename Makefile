# Each target sets up its own virtual environment. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo demo-desk test test-fast test-all check codegen format docs man pictures dist-check release soak soak-distributed fuzz bench audit lock sqlite-oldest clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## Verify and text-enable examples/numbers.csv against the embedded sandbox
	@$(BIN)/sinch-qn demo examples/numbers.csv

demo-desk: $(READY) ## Open the code desk on the embedded sandbox, with people who answer by themselves
	@$(BIN)/sinch-qn demo --desk examples/numbers.csv

# The tests of a file stay in one process, for what they share; they wait more than they compute, so
# there are more processes than cores. Files run in order: bulk and cli, which take longest, first.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder

test: $(READY) ## Run all tests, with their coverage floor
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PARALLEL)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-fast: $(READY) ## Run the tests that start no process, no soak, one fault of each class
	$(BIN)/python -m pytest --fast $(PARALLEL)

VERSIONS := 3.11 3.12 3.13 3.14

test-all: ## Run all tests with each Python of VERSIONS that is installed, or those of TESTS=…
	@TESTS="$(TESTS)" bash .ci/test-all $(VERSIONS)

check: $(READY) ## Lint, format, types, drift of generated files, the spec, what a call costs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/project/type_checkers.py
	$(BIN)/python -m codegen --check
	$(BIN)/openapi-spec-validator openapi/qualified-numbers.yaml
	$(BIN)/python -m pytest -q tests/project/test_cost.py

codegen: $(READY) ## Write the generated files: models, the sandbox's spec, licences, transcripts, layers
	$(BIN)/python -m codegen
	$(BIN)/python -m tests.project.test_architecture

format: $(READY) ## Format the code, and fix lint findings
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## Build the documentation site into build/site, strictly
	$(BIN)/python -m zensical build --strict --clean

pictures: $(READY) ## Record the demo, and photograph its report and the desk, into docs/pictures (needs Chromium)
	$(BIN)/python -m codegen.pictures

man: $(READY) ## Write a man page for each command into build/man/man1
	$(BIN)/python -m codegen.man_pages build/man/man1

dist-check: $(READY) ## Build the wheel, install it into an empty environment, and use it there
	rm -rf dist build/dist-check
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(PYTHON) -m venv build/dist-check
	build/dist-check/bin/python -m pip install --quiet --disable-pip-version-check "$$(ls $$PWD/dist/*.whl)[cli,desk,distributed,opentelemetry]"
	cd build && dist-check/bin/python -W error ../tests/project/installed.py

release: $(READY) ## Check everything, and build a release into dist/; nothing is uploaded
	@bash .ci/release --ready
	$(MAKE) check dist-check test
	@bash .ci/release

soak: $(READY) ## Kill a run of 10,000 numbers 20 times, and count the calls (2 minutes)
	SINCH_QN_SOAK=1 $(BIN)/python -m pytest -q -s tests/bulk/test_crash.py

soak-distributed: $(READY) ## Kill runners, databases and connections of one run on PostgreSQL (10 minutes)
	SINCH_QN_SOAK=1 $(BIN)/python -m pytest -q -s tests/bulk/test_distributed_soak.py

fuzz: $(READY) ## Run all cells of the matrices, and fuzz for longer: make fuzz FUZZ=50
	SINCH_QN_FUZZ=$(or $(FUZZ),20) $(BIN)/python -m pytest tests/core

build/bench/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv build/bench
	build/bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.txt
	build/bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

BENCHES := calls voice_call listings imports growth run rate journal

bench: build/bench/.ready ## Measure, print the targets, and write docs/explanation/performance.md (about 15 minutes)
	$(foreach b,$(BENCHES),build/bench/bin/python benchmarks/$(b).py --json build/figures/$(b).json &&) \
	build/bench/bin/python benchmarks/report.py build/figures

audit: $(READY) ## Write the SBOM, and check for known vulnerabilities
	@bash .ci/audit

lock: $(READY) ## Update the pins in requirements.txt (needs pip-tools in the environment)
	@mkdir -p build
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*p["project"]["dependencies"], *(d for e in p["project"]["optional-dependencies"].values() for d in e if "sinch-qn" not in d), *(d for group in p["dependency-groups"].values() for d in group), sep="\n")' > build/requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --strip-extras --allow-unsafe -o requirements.txt build/requirements.in

sqlite-oldest: $(READY) ## Run the journal's tests on SQLite 3.34, the oldest version (needs npm and a C compiler)
	@bash .ci/sqlite-oldest

clean: ## Remove the environment, builds and caches
	rm -rf $(VENV) build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
