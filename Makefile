# Two commands on a fresh machine: `make curate` and `make test`. Everything lives in .venv; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers
AUDIT := .audit
SBOM := .sbom
LOCK := requirements.lock
export DO_NOT_TRACK := 1
# Stages are started as `python -m stages.<verb>`: the environment's interpreter comes first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install curate summary server test test-slow kill soak peers lint audit lock sbom faults types docs check format clean

help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard $(LOCK))
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, got %d.%d; say which: make PYTHON=python3.11 …" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(wildcard $(LOCK)),--require-hashes --no-deps --requirement $(LOCK),--use-pep517 --constraint constraints.txt --editable .)
	$(if $(wildcard $(LOCK)),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,lint]'
	@touch $@

install: $(VENV)/.installed ## Make .venv and install the project with pinned versions.

curate: $(VENV)/.installed ## Run the pipeline and print what happened.
	$(BIN)/python -m stages.params
	$(BIN)/python -m stages.fork_server $(BIN)/python -m diva.versions.reproduction repro
	$(BIN)/diva summary

summary: $(VENV)/.installed ## Print what the last run did.
	$(BIN)/diva summary

server: $(VENV)/.installed ## Start a Prefect server and a worker on this machine (Ctrl-C ends both).
	$(BIN)/python -m flows.server

test: $(VENV)/.installed-dev ## Run the tests (minutes; two processes, a thread each).
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadgroup

test-slow: $(VENV)/.installed-dev ## Run the slow tests too (real photographs through the whole pipeline).
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

kill: $(VENV)/.installed-dev ## Kill nightly runs at 35 random moments; the result must be that of an undisturbed run.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.flows.kill --group 25 --alone 10

NIGHTS ?= 60
soak: $(VENV)/.installed-dev ## Simulate nights of two operators, faults and kills (NIGHTS=60, some 35 minutes) against a plain script.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.nights --nights $(NIGHTS) --out benchmarks/results/soak.json

peers: $(PEERS)/.cleanlab $(PEERS)/.pydvl ## Build environments for the peers that benchmarks.methods compares with.
	-@$(MAKE) $(PEERS)/.opendataval

$(PEERS)/.cleanlab: REQUIRES = "cleanlab[datalab]==2.9.0" scikit-learn
$(PEERS)/.pydvl: REQUIRES = "pydvl==0.10.0" scikit-learn
$(PEERS)/.opendataval: REQUIRES = "opendataval==1.3.0" "transformers<4.42" "numpy<2"
$(PEERS)/.%:
	mkdir -p $(PEERS)
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check $(REQUIRES)
	@touch $@

lint: $(VENV)/.installed-dev ## Check style, known insecure patterns, pins and licences.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive diva stages flows
	$(BIN)/python .ci/environment.py

audit: $(AUDIT)/.installed ## Look the pinned versions up in the index's list of known vulnerabilities.
	$(AUDIT)/bin/pip-audit --strict --progress-spinner off --no-deps --disable-pip --requirement constraints.txt

$(AUDIT)/.installed:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.10,<3"
	@touch $@

lock: $(VENV)/.installed ## Write requirements.lock: each file that `make install` takes here, with the hash that it then must have.
	$(BIN)/python .ci/lock.py > $(LOCK).tmp
	@mv $(LOCK).tmp $(LOCK)

sbom: $(SBOM)/.installed $(VENV)/.installed ## Write sbom.json: what is installed here, with versions and licences (CycloneDX).
	$(SBOM)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.json $(BIN)/python

$(SBOM)/.installed:
	$(PYTHON) -m venv $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7,<8"
	@touch $@

docs: $(VENV)/.installed-dev ## Build the documentation site into site/; it opens from disk.
	$(BIN)/python -m mkdocs build --strict --quiet

faults: $(VENV)/.installed-dev ## Meet every fault of docs/reliability.md, and write there what came of it.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

types: $(VENV)/.installed-dev ## Check types.
	$(BIN)/mypy

check: lint audit types test ## Style, vulnerabilities (needs the network), types, tests.

format: $(VENV)/.installed-dev ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and caches (no data).
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
