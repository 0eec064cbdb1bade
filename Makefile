# What a developer, an operator or a curious person does with a checkout.
# Everything lives in .venv; nothing here but `live` and `slurm-*` needs root.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SEED   ?= 1
KILLS  ?= 200
SITES  ?= local
# Tests of one file share a worker, and what was set up for them.
WORKERS := -n auto --maxprocesses=8 --dist=loadfile
SLURM  := $(or $(AYNI_SLURM_DIR),/var/tmp/ayni-slurm)/clusters.json

.PHONY: help demo test blackbox lint types live slurm-up slurm-down fault joint bench messages clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## the main job on real data: three countries, an atlas of languages, one model (SITES=slurm: the atlas on three clusters)
	$(BIN)/ayni demo $(if $(filter slurm,$(SITES)),--slurm $(SLURM)) $(ARGS)

test: $(VENV)/.dev  ## the tests that need nothing but Python
	$(BIN)/pytest tests --ignore=tests/live --ignore=tests/network -m "not fault" $(WORKERS) $(ARGS)

blackbox: $(VENV)/.dev  ## hostile tasks, access, sandbox, residency: against a network of real processes
	$(BIN)/pytest tests/network --maxfail=5 --durations=8 -n 2 --dist=loadfile $(ARGS)

lint: $(VENV)/.dev  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## types
	$(BIN)/mypy

live:  ## against real servers: PostgreSQL, S3, three Slurm clusters, a browser, containers (root, Debian 12)
	dev/live.sh $(ARGS)

slurm-up:  ## three real Slurm clusters with accounting on this machine (root, Debian 12)
	dev/slurm.sh up

slurm-down:  ## end them, and leave nothing of them behind
	dev/slurm.sh down

fault: $(VENV)/.dev  ## kill everything at random and look whether anything was lost (SITES=slurm: on three clusters)
	$(BIN)/python -m tests.fault --kills $(KILLS) --seed $(SEED) $(if $(filter slurm,$(SITES)),--slurm $(SLURM)) $(ARGS)

joint: $(VENV)/.lm  ## a training run that is disturbed beside three that are not (SITES=slurm: on three clusters)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.joint $(if $(filter slurm,$(SITES)),--slurm $(SLURM)) $(ARGS)

bench: $(VENV)/.dev  ## where the figures in docs/performance.md come from
	$(BIN)/python -m bench $(ARGS)

messages: $(VENV)/.dev  ## collect and compile the pages' texts (needs gettext)
	cd src/ayni/hub && ../../../$(BIN)/django-admin makemessages --all --no-obsolete --add-location file && ../../../$(BIN)/django-admin compilemessages

clean:  ## forget the environment and what it made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@command -v '$(PYTHON)' >/dev/null || { echo "There is no $(PYTHON) here: name a Python 3.11 or newer, as in make PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit("Ayni needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@'$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# Asked for exactly: a range may bring a build for GPUs, of several gigabytes.
$(VENV)/.torch: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	@touch $@

$(VENV)/.demo: private EXTRAS := demo,lm
$(VENV)/.lm: private EXTRAS := dev,lm
$(VENV)/.demo $(VENV)/.lm: $(VENV)/.torch
$(VENV)/.lm: $(VENV)/.dev

$(VENV)/.demo $(VENV)/.lm $(VENV)/.dev $(VENV)/.live: $(VENV)/.%: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(or $(EXTRAS),$*)]'
	@touch $@
