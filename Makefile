# Everything a person needs; `make help` lists it. Debian 12 with nothing but make installed will do.

VENV := .venv
# The system's own interpreter where it is new enough: it is optimised, which one that a user built seldom is, it is what
# packages run, and other users may execute it.
ifndef PYTHON
PYTHON := $(or $(firstword $(foreach p,/usr/bin/python3 python3,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $(p)))),python3)
endif
BIN := $(VENV)/bin
PYTEST := PATH="$(CURDIR)/.lab/bin:$$PATH" $(BIN)/python -m pytest
# Starts are timed as they are once installed, also where PYTHONDONTWRITEBYTECODE is set.
COMPILED := $(BIN)/python -m compileall -q proxtop services

RUN_PACKAGES := python3 python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev
DEB_PACKAGES := build-essential debhelper fakeroot
LAB_PACKAGES := qemu-system-x86 libvirt-daemon-system libvirt-clients busybox-static cpio kmod lz4 binutils gcc libc6-dev \
	iproute2
TEST_PACKAGES := $(LAB_PACKAGES) tmux socat procps util-linux groff-base zsh fish faketime valgrind \
	$(DEB_PACKAGES) debootstrap systemd e2fsprogs

# The lab needs root. What root builds for somebody else stays out of that user's tree.
LAB := $(if $(filter 0,$(shell id -u)),,$(if $(shell command -v sudo),sudo env PYTHONDONTWRITEBYTECODE=1 \
	PROXTOP_LAB_CACHE=/var/tmp/proxtop-lab/cache)) $(PYTHON) -m tests.lab
# Without libvirt's headers the last time: look again.
AGAIN := $(if $(wildcard $(VENV)/.without-libvirt),again)

# Where make install puts things. `make install DESTDIR=…` lays the same below another directory, for a package or an image.
prefix ?= /usr/local
sysconfdir ?= /etc
appdir ?= $(prefix)/lib/proxtop
unitdir ?= $(if $(filter /usr,$(prefix)),/usr/lib,$(sysconfdir))/systemd/system
packages ?= dist
PLACES := PYTHON="$(PYTHON)" prefix="$(prefix)" sysconfdir="$(sysconfdir)" appdir="$(appdir)" unitdir="$(unitdir)"

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help run lab lab-stop test test-all lint bench profile reliability soak docs install uninstall deb clean lab-packages test-packages again

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## install what is missing and start proxtop: make run ARGS="--cpu --mem"
	@$(BIN)/proxtop $(ARGS)

lab: lab-packages ## boot small real guests with a known load, and leave them running
	@$(LAB) up
	@echo "make run shows them; make lab-stop ends them"

lab-stop: ## end the guests of make lab, and what killed tests left
	@$(LAB) down

test: $(VENV)/.dev test-packages ## every test but the slow ones
	@$(COMPILED)
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.dev test-packages ## the slow tests, which make test leaves out
	@$(COMPILED)
	@$(PYTEST) -m slow $(ARGS) || [ $$? -eq 5 ] # 5: there are none

reliability: $(VENV)/.dev test-packages ## break a supervised fleet in every way and write docs/reliability.md anew (10 minutes)
	@$(BIN)/python -m tests.faults.reliability $(ARGS)

soak: $(VENV)/.dev test-packages ## an hour of a supervised fleet without growth: make soak ARGS="--minutes 5"
	@$(BIN)/python -m tests.faults.soak $(ARGS)

lint: $(VENV)/.dev ## style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy --explicit-package-bases $(wildcard install/*.py)
	@$(BIN)/mypy --explicit-package-bases bench
	@$(BIN)/mypy --explicit-package-bases tests/conftest.py $(filter-out tests/lab/test_%,$(wildcard tests/lab/*.py))
	@$(BIN)/lint-imports

bench: $(VENV)/.dev test-packages ## what proxtop costs on 1 to 200 real guests and 1,000 others: 15 minutes, as root
	@$(COMPILED)
	@$(BIN)/python -m bench $(ARGS)

profile: $(VENV)/.dev ## where the CPU goes, as a flame graph: make profile ARGS="--libvirt --cpu" (or a made-up host)
	@$(BIN)/python -m bench.profile $(ARGS)

docs: $(VENV)/.run ## write docs/metrics.md anew from the catalog
	@$(BIN)/python -m proxtop.catalog > docs/metrics.md.new
	@mv docs/metrics.md.new docs/metrics.md

install: ## install for the whole system: make install [prefix=/usr/local] [DESTDIR=…]; as root
	@scripts/packages $(RUN_PACKAGES)
ifdef DESTDIR
	@$(PLACES) install/tree "$(DESTDIR)"
else
	@tree=$$(mktemp -d) && trap 'rm -rf "$$tree"' EXIT && export $(PLACES) && \
		install/place && install/tree "$$tree" && install/account add && install/place "$$tree"
	@echo "installed; proxtop runs now, and the fleet with: systemctl enable --now proxtopd"
endif

uninstall: ## remove all that make install put there, with configuration, keys and logs; the same prefix
	@$(PLACES) install/remove
	@install/account remove

deb: ## build a Debian package for this release into dist/
	@scripts/packages $(RUN_PACKAGES) $(DEB_PACKAGES)
	@install/deb "$(packages)"

clean: ## remove what was built: .venv, the lab's cache, tools' caches
	@rm -rf $(VENV) .lab build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml constraints.txt scripts/packages scripts/venv $(AGAIN)
	@scripts/packages $(RUN_PACKAGES)
	@scripts/venv $(VENV) libvirt
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/packages scripts/venv $(AGAIN)
	@scripts/packages $(RUN_PACKAGES)
	@scripts/venv $(VENV) libvirt dev
	@touch $(VENV)/.run $@

lab-packages:
	@scripts/packages python3 $(LAB_PACKAGES)

test-packages:
	@scripts/packages $(TEST_PACKAGES)
	@scripts/promtool .lab/bin
