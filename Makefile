# Every target installs what it needs and prints one line for it; a second run does not install it again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export ANSIBLE_FORCE_COLOR ?= $(if $(MAKE_TERMOUT),true,false)

SCENARIO ?= all
SCENARIOS := $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml))
# Scenarios that have tests marked `long`.
LONG_SCENARIOS := $(shell grep -rl "mark\.long" molecule/*/tests | cut -d/ -f2 | sort -u)
DEMO := https://localhost:8443
DEMO_SECRETS := inventories/lab/.secrets

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup:
	@tests/setup venv packages engine images

.PHONY: demo
demo: setup ## Bring up an archive with a viewer on this machine, load sample studies, print URL and login
	@ansible-playbook molecule/shared/create.yml -i inventories/lab
	@ansible-playbook site.yml -i inventories/lab
	@python -m tests.samples load --url $(DEMO)/pacs/dicom-web --ca $(DEMO_SECRETS)/ca/ca.pem --user admin \
	  --password-file $(DEMO_SECRETS)/web_password --dicom 127.0.0.1:4242 --aet LIGHTBOX --calling-aet DEMO
	@echo
	@echo "  Open      $(DEMO)"
	@echo "  Log in    admin, $$(cat $(DEMO_SECRETS)/web_password)"
	@echo "  Trust     $(DEMO_SECRETS)/ca/ca.pem (a CA made for this demo; the browser warns until it knows it)"
	@echo "  Send      AE title LIGHTBOX at 127.0.0.1:4242, calling as DEMO"
	@echo "  Remove    make demo-down"

.PHONY: demo-down
demo-down: setup ## Remove the demo with all that is on it
	@ansible-playbook molecule/shared/destroy.yml -i inventories/lab

.PHONY: check-config
check-config: ## Check an inventory's answers without its servers; INVENTORY=path
	@tests/setup venv
	@ansible-playbook playbooks/check_config.yml -i $(or $(INVENTORY),$(error Say which: make check-config INVENTORY=inventories/onprem))

# The phases of `make test`, each a make target or a scenario; as many run at once as TEST_JOBS allows.
TEST_JOBS ?= 2
PHASES := $(SCENARIOS) unit sanity build lint

.PHONY: test
test: may-use-sudo ## Everything that must pass
	@rm -rf artifacts/test
	@code=0; $(MAKE) --jobs=$(TEST_JOBS) --keep-going $(PHASES:%=phase-%) || code=$$?; python3 tests/summary.py; exit $$code

.PHONY: test-long
test-long: may-use-sudo ## The tests that wait or repeat for minutes
	@rm -rf artifacts/test
	@code=0; $(MAKE) --jobs=$(TEST_JOBS) --keep-going $(LONG_SCENARIOS:%=phase-long-%) || code=$$?; python3 tests/summary.py; exit $$code

# Asked once, before phases side by side would each ask for a password.
.PHONY: may-use-sudo
may-use-sudo:
	@[ "$$(id -u)" -eq 0 ] || sudo -v

.PHONY: phase-venv phase-images $(PHASES:%=phase-%) $(LONG_SCENARIOS:%=phase-long-%)
phase-venv:
	@tests/phase venv tests/setup venv packages
phase-images:
	@tests/phase images tests/setup packages engine images
$(PHASES:%=phase-%): phase-%: phase-venv phase-images
	@tests/phase $* make $(if $(filter $*,$(SCENARIOS)),molecule SCENARIO=$*,$*)
$(LONG_SCENARIOS:%=phase-long-%): phase-long-%: phase-venv phase-images
	@PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} -m long" tests/phase long-$* make molecule SCENARIO=$*

.PHONY: lint
lint: ## Check style: ansible-lint, yamllint, ruff, mypy, shellcheck, changelog fragments
	@tests/setup venv packages
	@echo "Linting"
	@yamllint --strict .
	@ruff check . && ruff format --check .
	@mypy
	@git grep -lE '^#!/usr/bin/env bash' | xargs -d '\n' shellcheck
	@antsibull-changelog lint
	@ansible-lint --offline --strict

.PHONY: unit
unit: ## Unit tests
	@tests/setup venv packages unit
	@pytest --numprocesses auto tests/unit

.PHONY: sanity
sanity: ## ansible-test sanity on the files that git would export
	@tests/setup venv packages
	@tests/sanity/run

.PHONY: build
build: ## Build the collection, install it as Galaxy would, and list its playbooks and modules from there
	@tests/setup venv packages
	@tests/sanity/build

.PHONY: reference
reference: ## Write the tables of variables in the Markdown files, and the reference of roles and plugins into docs/reference
	@tests/setup venv packages
	@python -m tests.sanity.variable_tables
	@tests/sanity/reference docs/reference

.PHONY: molecule
molecule: setup ## Test on lab servers: all scenarios, or one with SCENARIO=name
	@tests/setup browser dicom
	@failed=; for scenario in $(if $(filter all,$(SCENARIO)),$(SCENARIOS),$(SCENARIO)); do \
	  echo "Testing on lab servers: $$scenario"; molecule test --scenario-name "$$scenario" || failed="$$failed $$scenario"; \
	done; [ -z "$$failed" ] || { echo "Failed:$$failed"; exit 1; }

# Debian's pebble has neither profiles nor answers to set for ARI.
.PHONY: acme-profiles
acme-profiles: setup ## Test profiles of certificates, renewal by lifetime and ARI with a newer ACME CA, which Go 1.24 builds
	@tests/setup dicom pebble
	@LIGHTBOX_PEBBLE="$(CURDIR)/.cache/pebble/pebble" PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} -m profiles" \
	  molecule test --scenario-name acme

.PHONY: e2e
e2e: ## Browser tests against the running demo
	@tests/setup venv browser
	@pytest tests/e2e

.PHONY: bench
bench: ## Measure the data path of the running demo
	@tests/setup venv browser
	@python -m tests.bench

.PHONY: bench-index
bench-index: setup ## Compare SQLite with PostgreSQL as the archive grows (a quarter of an hour; COUNTS="1000 10000": five minutes; COUNTS=0: the study list alone)
	@molecule converge --scenario-name database
	@python -m tests.bench.index --counts $(filter-out 0,$(or $(COUNTS),1000 10000 100000))

.PHONY: bench-upload
bench-upload: ## Compare the module orthanc_upload with a plain parallel client, through the running demo
	@tests/setup venv
	@python -m tests.bench.upload
