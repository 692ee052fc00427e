# make demo: set-up and the main job.  make test: set-up and all tests.  make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := export,cpu,calibrate,dev
REGISTRIES := 'tensorrt-rtx-cu13-libs>=1.7' 'tensorrt-rtx-cu13-bindings>=1.7' \
  'tensorrt-lean-cu13-libs>=11.4' 'tensorrt-lean-cu13-bindings>=11.4'
REGISTRY_10 := tensorrt-lean-cu13-libs==10.16.1.11 tensorrt-lean-cu13-bindings==10.16.1.11
# mypy cannot follow the folders' mapping in setup.py: a view of links shows it one package
VIEW := build/view/maskrt
# where none is given: compiling the kernels for all architectures is what `make plugins` is for
CMAKE_ARGS ?= -DMASKRT_CUDA=OFF
export CMAKE_ARGS
CXX_FILES = $(shell find plugins tests -name '*.h' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo test lint format bench native plugins clean help FORCE

demo: $(READY)
	$(BIN)/maskrt demo

test: $(READY) native
	$(BIN)/python -m pytest

lint: $(READY) $(VIEW)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/view && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p maskrt
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(READY) native
	$(BIN)/python benchmarks/cpu_model.py
	$(BIN)/python benchmarks/cpu_ops.py

native: $(READY)
	$(BIN)/cmake -S . -B build/cmake -DCMAKE_BUILD_TYPE=Release
	$(BIN)/cmake --build build/cmake --parallel --target maskrt_ops

plugins: $(READY)
	$(BIN)/cmake -S . -B build/cmake -DCMAKE_BUILD_TYPE=Release -DMASKRT_CUDA=ON
	$(BIN)/cmake --build build/cmake --parallel --target maskrt_plugins

$(READY): pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip
	$(BIN)/pip install -e '.[$(EXTRAS)]'
	# type stubs only: their requirement, TensorRT itself, needs no installation for mypy
	$(BIN)/pip install --no-deps 'tensorrt-stubs>=10.13'
	# three real plugin registries for the tests; what they require is not needed for that
	-$(BIN)/pip install --no-deps $(REGISTRIES)
	-$(BIN)/pip install --no-deps --target $(VENV)/tensorrt10 $(REGISTRY_10)
	# one of the two packages that drive GPUs; the simulated one needs no other
	-$(BIN)/python tests/simcuda/install_pycuda.py
	touch $@

$(VIEW): FORCE
	rm -rf $@ && mkdir -p $@
	cd $@ && ln -s ../../../core/* . && \
	  for folder in export plugins runtime calibration examples; do ln -s ../../../$$folder .; done

clean:
	rm -rf build $(VENV) *.egg-info

help:
	@echo "make demo    set up .venv, export the tiny models, run them, write pictures"
	@echo "make test    set up .venv, run all tests"
	@echo "make lint    ruff, mypy, clang-format"
	@echo "make format  let ruff and clang-format rewrite the sources"
	@echo "make native  build the library of CPU operators"
	@echo "make plugins build the library of CUDA kernels and TensorRT plugins (needs nvcc)"
	@echo "make bench   times on this CPU, of the whole model and of the operators, beside others'"
	@echo "make clean   remove build/ and .venv/"

FORCE:
