# Everything a person needs: a fresh machine with Python 3.11+, git and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# ONLY=part-of-a-name chooses tests of make crash, make chaos and make seeded
CHOSEN = $(if $(ONLY),-k "$(ONLY)")
# FORM=compiled runs make crash and make chaos on the compiled form
RUN = $(BIN)/python$(if $(filter compiled,$(FORM)), -m compiled)
# a campaign of ten minutes is no hang
LONG := -o faulthandler_timeout=1800
STAMP := $(VENV)/.installed
FUZZ_STAMP := $(VENV)/.fuzz-installed

.PHONY: demo test check bytecode compiled wheel bench crash chaos seeded guarantees lock clean test-deps format fuzz

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("ifengine needs Python 3.11 or later") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

# pip compiles what it installs; here the source itself is installed, and where PYTHONDONTWRITEBYTECODE
# is set every start would compile it all again, which takes longer than the rest of a start
bytecode: $(STAMP)
	$(BIN)/python -m compileall -q src

demo: bytecode  ## run the demonstration hospital; ONCE=1 ends by itself with a printed balance
	ONCE="$(ONCE)" $(BIN)/python -m demo

test: check bytecode  ## everything that must pass
	$(BIN)/python -m pytest

check: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

compiled: bytecode  ## the modules every message passes as native code, in build/compiled; needs a C compiler
	$(BIN)/python -m compiled

wheel: $(STAMP)  ## a wheel of the compiled form, for this Python and kind of machine, in dist
	IFENGINE_COMPILE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

bench: bytecode  ## measure the compiled form, write benchmarks/results.md; CASES="backlog disk", or full
	$(BIN)/python -m compiled -m benchmarks $(CASES)

crash: bytecode  ## the long campaigns of kills, power cuts and failing disks, with a table
	IFENGINE_CAMPAIGN=long $(RUN) -m pytest $(LONG) -m crash $(CHOSEN)

chaos: bytecode  ## the long campaigns of lying peers, hostile clients, clocks and schedules, with a table
	IFENGINE_CAMPAIGN=long $(RUN) -m pytest $(LONG) -m chaos $(CHOSEN)

$(FUZZ_STAMP): requirements-fuzz.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	touch $(FUZZ_STAMP)

fuzz: $(FUZZ_STAMP)  ## every target of tests/fuzz with a coverage-guided fuzzer, 30 s each; ONLY="view admin"
	PYTHONPATH=tests $(BIN)/python tests/fuzz/guided.py $(ONLY)

seeded: bytecode  ## each bug of tests/seeded in a copy of the source: the test beside it must find it
	IFENGINE_CAMPAIGN=long $(BIN)/python -m pytest $(LONG) tests/seeded $(CHOSEN)

guarantees: bytecode  ## all long campaigns, then their figures in docs/guarantees.md
	mkdir -p var
	IFENGINE_CAMPAIGN=long IFENGINE_CAMPAIGN_FILE=var/campaigns.json $(BIN)/python -m pytest $(LONG) -m "crash or chaos"
	$(BIN)/python docs/guarantees.py --all var/campaigns.json

test-deps:  ## system packages that some tests use
	sh deploy/test-deps.sh

lock: $(STAMP)  ## resolve again and write names, versions and hashes, without addresses
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-options --no-header --no-annotate --extra dev -o requirements.lock pyproject.toml
	echo "atheris>=3.0" | $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-options --no-header --no-annotate -o requirements-fuzz.lock -

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
