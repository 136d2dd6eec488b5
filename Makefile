# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up in .venv from a fresh clone; it needs python3 (3.10+) with venv, and g++.
SHELL := /bin/bash
PYTHON ?= python3
WORK_DIR ?= runs/centernet
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find csrc -type f) CMakeLists.txt setup.py pyproject.toml
PIP := $(BIN)/pip --disable-pip-version-check -q
PARITY = PYTHONPATH=.:python $(or $(PEER),$(BIN)/python)
BENCH := -m pytest -c benchmarks/pytest.ini --rootdir=benchmarks benchmarks

# A sanitized library in an unsanitized Python: the sanitizer's runtime has to be there first.
ASAN := LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0
EMULATED := LDIE_BACKENDS=emulated $(BIN)/python -m pytest -m sanitize

# What this machine runs and no more, unless the environment says otherwise: one CPU library, and with a GPU and nvcc
# its CUDA kernels. `pip install .` and .ci/run build all libraries.
GPU := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -n '1s/^\([0-9]*\)\.\([0-9]\)$$/\1\2/p')
export LDIE_CPU_CAPABILITIES ?= native
export LDIE_CUDA ?= $(if $(GPU),AUTO,OFF)
export LDIE_CUDA_ARCHITECTURES ?= $(or $(GPU),90)-real
SETTINGS = printf '%s\n' "$$LDIE_CPU_CAPABILITIES" "$$LDIE_CUDA" "$$LDIE_CUDA_ARCHITECTURES" "$$LDIE_CMAKE_ARGS"

# Threads that spin while they wait hold up the others where cores are shared (python/ldie/threads.py).
export OMP_WAIT_POLICY ?= passive

# The GPU machine's Python and torch, for which the package is built where it need not be compiled again.
GPU_PYTHON ?= python3.12
GPU_TORCH ?= 2.11.0
GPU_BIN ?= .venv-gpu/bin

.PHONY: FORCE help setup train train-editing test sanitize sanitize-asan sanitize-race hostile lint format bench parity gpu-package gpu-check clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "python3 must be 3.10 or newer: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch 2.13.0 and the build tools into $(VENV)"
	$(PIP) install torch==2.13.0 "setuptools>=77" "pybind11>=2.13" "cmake>=3.24" ninja
	@touch $@

# Written anew only when the settings change, and then all is built by the new ones.
$(VENV)/settings: $(VENV)/created FORCE
	@$(SETTINGS) | cmp -s - $@ || $(SETTINGS) > $@

# Editable, so that the native libraries stand beside the Python files; build isolation would fetch a second torch.
$(VENV)/installed: $(VENV)/created $(VENV)/settings $(NATIVE)
	@echo "building and installing ldie_ext and ldie"
	$(PIP) install --no-build-isolation -e ".[test]"
	@touch $@

$(VENV)/lint: $(VENV)/installed
	$(PIP) install --no-build-isolation -e ".[lint]"
	@touch $@

.venv-gpu/bin/python:
	$(GPU_PYTHON) -m venv .venv-gpu
	$@ -m pip install -q torch==$(GPU_TORCH) "setuptools>=77" "pybind11>=2.13" "cmake>=3.24" ninja

setup: $(VENV)/installed  ## create .venv, build and install

train: setup  ## train the default system on the generated shapes dataset, with metrics and pictures
	$(BIN)/ldie train centernet --data shapes --work-dir $(WORK_DIR) --overwrite

train-editing: setup  ## train the editor on generated requests into runs/editing, for ldie edit
	$(BIN)/ldie train editing --work-dir runs/editing --overwrite

# A test process for each core. Two threads each: what is threaded runs on threads, and they do not crowd the cores.
WORKERS := -n auto --maxprocesses=8 --dist=worksteal
test: export OMP_NUM_THREADS ?= 2
test: setup  ## run all tests (CUDA kernels on the CPU through the emulator, and on a GPU where there is one)
	$(BIN)/python -m pytest $(WORKERS)

sanitize: setup  ## the CUDA kernels on the CPU under ASan + UBSan, and under the race checker
	$(BIN)/python tests/emulator/build.py asan race
	+$(MAKE) --no-print-directory --output-sync=target -j2 sanitize-asan sanitize-race

sanitize-asan:
	LDIE_EMULATOR_MODE=asan SIMT_SCHEDULE=reverse $(ASAN) $(EMULATED) -n 2 --dist=worksteal  # the slower of the two

sanitize-race:
	LDIE_EMULATOR_MODE=race SIMT_SCHEDULE=random:1 $(EMULATED)

# Not from the source tree, whose ldie_ext would come first.
HOSTILE := cd build/sanitize && PYTHONPATH=site:$(CURDIR)/tests $(ASAN):allocator_may_return_null=1:max_allocation_size_mb=4096 \
	$(CURDIR)/$(BIN)/python -m hostile --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0)

hostile: setup  ## random hostile calls of the CPU operators and coco.mask under ASan + UBSan (MINUTES=10 each, SEED=0)
	$(BIN)/python tests/sanitized.py
	$(HOSTILE) --trail ops
	$(HOSTILE) --trail coco --coco

lint: $(VENV)/lint  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror

format: $(VENV)/lint  ## rewrite the sources in the project's format, and the type stub
	$(BIN)/python -m ldie_ext._stub
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format -i

bench: setup  ## run the benchmarks; PEER=python uses an environment that also has torchvision
	PYTHONPATH=. $(or $(PEER),$(BIN)/python) $(BENCH) --benchmark-json=build/bench.json
	$(BIN)/python benchmarks/report.py build/bench.json

parity: setup  ## every comparison with torchvision, in an environment that has it: PEER=python
	$(PARITY) -c 'import torch, torchvision; print("torch", torch.__version__, "torchvision", torchvision.__version__)'
	$(PARITY) -m pytest -m parity -v -v -rs $$(grep -rl 'importorskip("torchvision' tests --include='test_*.py')

gpu-package: $(GPU_BIN)/python  ## build what a GPU machine is given for gpu-check, for its Python and torch
	PATH="$(GPU_BIN):$$PATH" PYTHONPATH=benchmarks $(GPU_BIN)/python -m gpu.package

gpu-check:  ## on a machine with a GPU and no network: CUDA tests, benchmarks, sanitizers (LIMIT=540 RESULTS=folder)
	PYTHONPATH=benchmarks $(PYTHON) -m gpu.check --limit $(or $(LIMIT),540) $(if $(RESULTS),--results $(RESULTS)) \
		$(if $(STEPS),--steps $(STEPS)) $(if $(WHEELS),--wheels $(WHEELS)) $(if $(REHEARSE),--rehearse)

clean:  ## remove what was built
	rm -rf build $(VENV) .venv-gpu tests/emulator/lib ldie_ext/*.so
