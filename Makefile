# make install   the command in .venv/bin/cellwright, with every Debian package it needs
# make run       this machine's topology, a guest placed, started, proven to be pinned, and taken away again
# make test      everything, linters and the booted lab included
# make install-system   units, manual pages, completion and templates below DESTDIR; without one, also the command's link
# make bench     every speed claim of the README, measured here and now

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: install quick-start install-system run test bench packages clean

install: packages $(STAMP)

packages:
	@.ci/install-packages

$(STAMP): pyproject.toml Makefile | packages
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing the Python packages of pyproject.toml into $(VENV)"
	@$(VENV)/bin/pip install -q --upgrade 'pip>=25.1'
	@$(VENV)/bin/pip install -q -e '.[host,scheduler]' --group dev
	@$(VENV)/bin/python -m compileall -q agent
	@$(MAKE) -s quick-start
	@touch $(STAMP)

# pip's command with a quicker start: Python's site module looks for packages, and garbage is collected, only when a verb
# needs it, and our own modules are found by their byte code.  Where the path is too long or has blanks, which a first
# line cannot have, pip's own command stays
quick-start:
	@printf '%s\n' '#!$(CURDIR)/$(VENV)/bin/python -SP' 'import gc, sys' 'gc.disable()' \
	  'sys.path.insert(0, "$(CURDIR)")' \
	  'from agent.cli.bytecode import Finder' 'sys.meta_path.insert(0, Finder)' \
	  'from agent.cli.main import main' 'sys.exit(main())' > $(VENV)/bin/.cellwright && \
	  chmod +x $(VENV)/bin/.cellwright && \
	  if $(VENV)/bin/.cellwright --version > /dev/null 2>&1; \
	  then mv $(VENV)/bin/.cellwright $(VENV)/bin/cellwright; else rm $(VENV)/bin/.cellwright; fi

DESTDIR ?=
PREFIX ?= /usr/local
UNITDIR ?= /etc/systemd/system
SHARE = $(DESTDIR)$(PREFIX)/share
# where Debian's shells look: fish has no folder below /usr/local, zsh none of its own name below /usr
ZSHDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/share/zsh/vendor-completions,$(PREFIX)/share/zsh/site-functions)
FISHDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/share/fish/vendor_completions.d,/etc/fish/completions)

# expects the packages to be there: `make install` first, or a build that has them
install-system:
	@install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)/usr/lib/sysusers.d $(DESTDIR)/usr/lib/tmpfiles.d $(DESTDIR)/etc/cellwright/conf.d
	@install -m 644 systemd/*.service systemd/*.timer $(DESTDIR)$(UNITDIR)
	@install -m 644 systemd/cellwright.sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/cellwright.conf
	@install -m 644 systemd/cellwright.tmpfiles.conf $(DESTDIR)/usr/lib/tmpfiles.d/cellwright.conf
	@install -d $(SHARE)/cellwright/templates $(SHARE)/cellwright/systemd $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man8 \
	  $(SHARE)/bash-completion/completions $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	@install -m 644 templates/*.xml $(SHARE)/cellwright/templates
	@install -m 644 systemd/agent-host.conf $(SHARE)/cellwright/systemd
	@built=$$(mktemp -d) && trap 'rm -rf "$$built"' EXIT && \
	  $(VENV)/bin/python manual/generate.py man $$built/man && \
	  $(VENV)/bin/python manual/generate.py completion $$built && \
	  for section in 1 5 8; do install -m 644 $$built/man/*.$$section $(SHARE)/man/man$$section || exit 1; done && \
	  install -m 644 $$built/cellwright.bash $(SHARE)/bash-completion/completions/cellwright && \
	  install -m 644 $$built/_cellwright $(DESTDIR)$(ZSHDIR)/_cellwright && \
	  install -m 644 $$built/cellwright.fish $(DESTDIR)$(FISHDIR)/cellwright.fish
	@if [ -z "$(DESTDIR)" ]; then \
	  install -d $(PREFIX)/bin && ln -sf $(CURDIR)/$(VENV)/bin/cellwright $(PREFIX)/bin/cellwright && \
	  systemd-sysusers cellwright.conf && systemd-tmpfiles --create cellwright.conf; fi

run: install
	@examples/first-light.sh

# the lab beside everything else; with WORKERS=0 one test after the other
WORKERS ?= 2
test: install
	@$(VENV)/bin/python -m pytest -n $(WORKERS)

BENCHMARKS = topology place packing churn domain verify repin schedule daemon

bench: install
	@status=0; for name in $(BENCHMARKS); do \
	  echo "== benchmarks/$$name.py"; $(VENV)/bin/python benchmarks/$$name.py || status=1; \
	done; exit $$status

clean:
	rm -rf $(VENV) .cache
