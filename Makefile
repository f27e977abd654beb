# Everything a newcomer needs: `make demo`, `make test`. Only Python 3.11+ and pip are assumed.
#
#   make demo    set up .venv and run the audit on its defaults
#   make test    set up .venv and run the tests, but for the slow ones
#   make slow    the slow ones: whole studies, clusters, what is killed and goes on
#   make check   format, lint, types
#   make docs    the documentation in site/; any warning is an error
#   make lowest  the tests without the slow ones, with the lowest versions that are supported
#
# PYTHON=python3.12 chooses the interpreter, JOBS=4 the test workers. A stamp in .venv marks each
# finished installation, so that a second call starts at once; `rm -r .venv` begins again.

PYTHON ?= python3
JOBS ?= 2
SLOW ?= slow
PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS)

.PHONY: help demo test slow check docs lowest
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/.with-nothing
	$(PY) -m gengap audit

test: .venv/.with-test
	$(PYTEST) -m "not slow"

slow: .venv/.with-test
	$(PYTEST) -m "$(SLOW)"

check: .venv/.with-dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: .venv/.with-docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

lowest: .venv-lowest/.created
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n $(JOBS) -m "not slow"

.venv-lowest/.created: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-lowest.txt -e . pytest pytest-xdist hypothesis hatchling packaging
	@touch $@

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gengap needs Python 3.11 or newer; got $$($(PYTHON) --version 2>&1)." \
		"Choose one with PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.with-nothing: .venv/.created pyproject.toml constraints.txt
	@echo "Installing gengap into .venv (a minute or two the first time) ..."
	$(INSTALL) -e .
	@touch $@

.venv/.with-%: .venv/.created pyproject.toml constraints.txt
	@echo "Installing gengap[$*] into .venv (a minute or two the first time) ..."
	$(INSTALL) -e ".[$*]"
	@touch $@
