# payneflow in a few words: `make` lists them. Everything is installed in .venv, inside this directory.
# Needs Python 3.11 or newer; another one than the one found here: make run PYTHON=/path/to/python3.12
# The Theano reference (make theano, make test) has an environment of its own, .venv-theano, and needs Python 3.11 itself.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --workflow-profile workflow/profiles/default
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint envs/constraints.txt

# Written at the end of an installation and holding the place it was made for: a .venv without it is half built, and
# one that was moved or copied here would run the programs of the other place. Both are built anew.
RUN_STAMP := .venv/installed-for-run
TEST_STAMP := .venv/installed-for-test
DOCS_STAMP := .venv/installed-for-docs
ifneq ($(shell test -x $(BIN)/python && cat $(RUN_STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(RUN_STAMP)
endif

THEANO_BIN := .venv-theano/bin
THEANO_STAMP := .venv-theano/installed
ifneq ($(shell test -x $(THEANO_BIN)/python && cat $(THEANO_STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(THEANO_STAMP)
endif

.PHONY: help run report test docs linkcheck cluster theano clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' Makefile

run: $(RUN_STAMP)  ## the whole workflow of config.yaml, from the grid to results/report.html; more options: make run ARGS="-n"
	@$(SNAKEMAKE) $(ARGS)

report: run  ## results/snakemake_report.html, that of Snakemake: figures, training record, rules and times in one file
	@$(SNAKEMAKE) --report results/snakemake_report.html $(ARGS)

# make test ARGS="tests/test_progress.py": one file starts at once; all of them run side by side (tests/conftest.py).
NEEDS_CLUSTER = $(if $(filter tests/%,$(ARGS)),$(filter tests/cluster%,$(ARGS)),yes)
NEEDS_BROWSER = $(if $(filter tests/%,$(ARGS)),$(filter tests/explore%,$(ARGS)),yes)

test: $(TEST_STAMP) $(THEANO_STAMP)  ## every test, lint and format check
	@$(if $(NEEDS_CLUSTER),sh tests/cluster/install.sh)
	@$(if $(NEEDS_BROWSER),sh tests/explore/install.sh)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto $(ARGS)

SPHINX := PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m sphinx -W --keep-going -q

docs: $(DOCS_STAMP)  ## the documentation site, its tutorials executed: docs/_build/html/index.html
	@$(SPHINX) -b html docs docs/_build/html $(ARGS)
	@echo "The site: docs/_build/html/index.html"

linkcheck: $(DOCS_STAMP)  ## are the pages of others that the site links to still there? Needs a network
	@$(SPHINX) -b linkcheck -D nb_execution_mode=off -D suppress_warnings=myst-nb.lexer docs docs/_build/linkcheck $(ARGS)

cluster: $(RUN_STAMP)  ## the demonstration on a Slurm cluster of four nodes, started on this machine and stopped again
	@sh tests/cluster/install.sh
	@PATH=$(CURDIR)/$(BIN):$$PATH tests/cluster/run_demo.sh results_cluster --forceall $(ARGS)

theano: $(THEANO_STAMP)  ## the published trainer in Theano beside ours: are the networks the same, and how fast is each?
	@$(THEANO_BIN)/python benchmarks/theano_equality.py
	@$(THEANO_BIN)/python benchmarks/theano_speed.py

clean:  ## remove all that was made here: results, .venv, caches
	rm -rf docs/_build docs/_notebooks .venv .venv-theano .snakemake .pytest_cache .hypothesis .ruff_cache results build dist src/payneflow.egg-info
	find src tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# The Python to build .venv with: the first of these that runs and is new enough.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
FIND_PYTHON = for python in $(PYTHONS); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	test -n "$$python" || { echo "payneflow needs Python 3.11 or newer, and none of these is: $(PYTHONS)." \
	"Install one, or name it: make run PYTHON=/path/to/python" >&2; exit 1; }

$(RUN_STAMP): pyproject.toml envs/constraints.txt
	@$(FIND_PYTHON); \
	echo "Installing payneflow and Snakemake in .venv (once, a minute or two) ..."; \
	rm -rf .venv; \
	"$$python" -m venv .venv || { rm -rf .venv; echo "$$python cannot make a virtual environment;" \
	"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP_INSTALL) --editable '.[workflow,mpi]'
	@printf %s '$(CURDIR)' > $@

$(TEST_STAMP): $(RUN_STAMP)
	@echo "Installing what the tests need in .venv ..."
	@$(PIP_INSTALL) --editable '.[workflow,mpi,hdf5,specutils,parquet,posterior,docs,test]'
	@touch $@

$(DOCS_STAMP): $(RUN_STAMP)
	@echo "Installing what the site needs in .venv ..."
	@$(PIP_INSTALL) --editable '.[workflow,mpi,hdf5,docs]'
	@touch $@

# numpy 1.23.5, the newest that Theano runs with, has no wheels for Python 3.12 or newer.
THEANO_PYTHONS := $(or $(THEANO_PYTHON),python3.11 python3 $(PYTHON))
FIND_THEANO_PYTHON = for python in $(THEANO_PYTHONS); do \
	"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && break; python=; done; \
	test -n "$$python" || { echo "Theano needs Python 3.11, and none of these is: $(THEANO_PYTHONS)." \
	"Install it, or name it: make theano THEANO_PYTHON=/path/to/python3.11" >&2; exit 1; }

$(THEANO_STAMP): pyproject.toml envs/constraints-theano.txt
	@$(FIND_THEANO_PYTHON); \
	echo "Installing payneflow and Theano in .venv-theano (once, a minute) ..."; \
	rm -rf .venv-theano; \
	"$$python" -m venv .venv-theano || { rm -rf .venv-theano; echo "$$python cannot make a virtual environment;" \
	"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(THEANO_BIN)/python -m pip install -qq --disable-pip-version-check --constraint envs/constraints-theano.txt \
	--editable '.[theano,mpi]' pytest pytest-timeout hypothesis
	@printf %s '$(CURDIR)' > $@
