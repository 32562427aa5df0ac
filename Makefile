# Every target makes .venv by itself. PYTHON=python3.12 chooses another interpreter; GALFLOW_CUDA=12 or 13 installs torch with CUDA.
PYTHON ?= python3
BIN := .venv/bin
# Each test starts some processes, which would otherwise compile all of galflow anew.
unexport PYTHONDONTWRITEBYTECODE
# So many test processes side by side, each with one torch thread: on two cores three, as some only wait. JOBS=0: one after the other, in this process.
JOBS ?= 3

.PHONY: demo test test-full check docs pages mutants bench bench-models install clean

demo: .venv/ready
	$(BIN)/galflow demo $(if $(ROOT),--root $(ROOT))

test: .venv/ready-test
	scripts/install-system
	$(BIN)/python -m pytest -m "not full" --numprocesses $(JOBS) --dist loadgroup --no-loadscope-reorder

test-full: .venv/ready-test   # with what is long, or one more of its kind; before a release
	scripts/install-system
	$(BIN)/python -m pytest

check: .venv/ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_import_floors.py
	@mkdir -p build   # each test's fixtures exist, those of the long ones too
	$(BIN)/python -m pytest --setup-plan > build/fixtures.txt || { grep -E "^(E  |ERROR)" build/fixtures.txt; exit 1; }

docs: .venv/ready-docs     # the pages as a site, build/docs/index.html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs

pages:                     # what the report's and the explorer's pages run in the browser, from scripts and npm packages; needs node
	cd galflow/report/site && npm ci --ignore-scripts --no-audit --no-fund && node build.mjs

mutants: .venv/ready-test     # deliberate faults that tests must notice: ten minutes; after a change to tests, joins or scores
	$(BIN)/python tests/mutants/run.py

bench: .venv/ready-test       # twenty minutes on two idle cores
	$(BIN)/python -m benchmarks

bench-models: .venv/ready-test   # what trains: two hours and more; before a release, or after a change to a model
	$(BIN)/python -m benchmarks models

install: .venv/ready

# The demo needs no test tools: each of these installs what its targets need.
.venv/ready: pyproject.toml constraints.txt scripts/install
	scripts/install $(PYTHON)
	touch $@

.venv/ready-%: pyproject.toml constraints.txt scripts/install
	scripts/install $(PYTHON) $*
	touch $@ .venv/ready

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
