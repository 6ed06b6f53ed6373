# make install   the command in .venv/bin/cellwright, with every Debian package it needs
# make run       this machine's topology, a guest placed, started, proven to be pinned, and taken away again
# make test      everything, linters and the booted lab included
# make bench     every speed claim of the README, measured here and now

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: install run test bench packages clean

install: packages $(STAMP)

packages:
	@.ci/install-packages

$(STAMP): pyproject.toml | packages
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing the Python packages of pyproject.toml into $(VENV)"
	@$(VENV)/bin/pip install -q --upgrade 'pip>=25.1'
	@$(VENV)/bin/pip install -q -e '.[host,scheduler]' --group dev
	@$(VENV)/bin/python -m compileall -q agent
	@touch $(STAMP)

run: install
	@examples/first-light.sh

test: install
	@$(VENV)/bin/python -m pytest

bench: install
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(VENV)/bin/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .cache
