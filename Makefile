# make demo: set-up and the main job.  make test: set-up and the quick tests.  make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# three steps of set-up, each on top of the one before
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
READY_ALL := $(VENV)/.ready-all
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
REGISTRIES := 'tensorrt-rtx-cu13-libs>=1.7' 'tensorrt-rtx-cu13-bindings>=1.7' \
  'tensorrt-lean-cu13-libs>=11.4' 'tensorrt-lean-cu13-bindings>=11.4'
REGISTRY_10 := tensorrt-lean-cu13-libs==10.16.1.11 tensorrt-lean-cu13-bindings==10.16.1.11
# mypy cannot follow the folders' mapping in setup.py: a view of links shows it one package
VIEW := build/view/maskrt
# where none is given: compiling the kernels for all architectures is what `make plugins` is for
CMAKE_ARGS ?= -DMASKRT_CUDA=OFF
export CMAKE_ARGS
CXX_FILES = $(shell find plugins tests -name '*.h' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
# one worker for each core, each on its own
WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
SLOW := slow or fuzz or soak
# goes to pytest, for example  make test ARGS="-k letterbox"
ARGS ?=

.PHONY: demo test test-rest test-all durations lint format bench native test-native plugins clean \
  help FORCE

demo: $(READY)
	$(BIN)/maskrt demo

test: $(READY_TEST) test-native
	$(PYTEST) -m "not ($(SLOW))" $(ARGS)

test-rest: NATIVE := --sanitized
test-rest: $(READY_ALL) test-native
	$(PYTEST) -m "$(SLOW)" $(ARGS)

test-all: NATIVE := --sanitized
test-all: $(READY_ALL) test-native
	$(PYTEST) $(ARGS)

durations: $(READY_TEST) test-native
	$(PYTEST) -m "not ($(SLOW))" --record-durations $(ARGS)

lint: $(READY_TEST) $(VIEW)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/view && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p maskrt
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: $(READY_TEST)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: $(READY_TEST) native
	$(BIN)/python benchmarks/cpu_model.py
	$(BIN)/python benchmarks/cpu_ops.py

native: $(READY_TEST)
	$(BIN)/python -m tests.plugins.building maskrt_ops

# what tests would compile, in a step of its own
test-native: $(READY_TEST)
	@$(BIN)/python -m tests.plugins.building $(NATIVE)

plugins: $(READY_TEST)
	$(BIN)/cmake -S . -B build/cmake -DCMAKE_BUILD_TYPE=Release -DMASKRT_CUDA=ON
	$(BIN)/cmake --build build/cmake --parallel --target maskrt_plugins

$(READY): pyproject.toml setup.py
	@echo "Setting up $(VENV): about 3 GB to download, 6 GB on disk, most of it PyTorch for CUDA,"
	@echo "which PyPI's build for x86-64 cannot do without. 2 to 4 minutes on a fast line."
	$(PYTHON) -m venv $(VENV)
	@# older ones know no dependency groups
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) -e '.[export,cpu,calibrate]'
	@touch $@

$(READY_TEST): $(READY)
	@echo "Adding what tests need: about 400 MB to download, half a minute."
	$(PIP) --group dev
	@# type stubs only: their requirement, TensorRT itself, needs no installation for mypy
	$(PIP) --no-deps 'tensorrt-stubs>=10.13'
	@# real builders and plugin registries; what they require is not needed for that
	-$(PIP) --no-deps $(REGISTRIES)
	@touch $@

$(READY_ALL): $(READY_TEST)
	@echo "Adding what slow tests need: TensorRT 10's registry, and pycuda, compiled in a minute."
	-$(PIP) --no-deps --target $(VENV)/tensorrt10 $(REGISTRY_10)
	@# one of the two packages that drive GPUs; the simulated one needs no other
	-$(BIN)/python tests/simcuda/install_pycuda.py
	@touch $@

$(VIEW): FORCE
	rm -rf $@ && mkdir -p $@
	cd $@ && ln -s ../../../core/* . && \
	  for folder in export plugins runtime calibration examples; do ln -s ../../../$$folder .; done

clean:
	rm -rf build $(VENV) *.egg-info

help:
	@echo "make demo       set up .venv, export the tiny models, run them, write pictures"
	@echo "make test       the quick tests; ARGS=\"-k letterbox\" goes to pytest"
	@echo "make test-all   all tests; make test-rest: those that make test leaves out"
	@echo "make durations  the quick tests, and a new record of what they take"
	@echo "make lint       ruff, mypy, clang-format"
	@echo "make format     let ruff and clang-format rewrite the sources"
	@echo "make native     build the library of CPU operators"
	@echo "make plugins    build the library of CUDA kernels and TensorRT plugins (needs nvcc)"
	@echo "make bench      times on this CPU, of the whole model and of the operators, beside others'"
	@echo "make clean      remove build/ and .venv/"

FORCE:
