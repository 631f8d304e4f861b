# make demo      shows what srvdb does, on the documentation of your Python's standard library
# make test      C++ and Python tests
# make bench     measures (BENCH="..." passes arguments)
# make lint      formatting, types, static analysis
# make sanitize  C++ tests under AddressSanitizer with UBSan, and under ThreadSanitizer
# make soak      the long tests: crashes, failing disks, damage, kills (SOAK="..." passes arguments)
# make planted   shows that they can fail: builds with bugs on purpose, each of which must be caught
# make clean     removes what these made
#
# Each installs what is missing first (scripts/bootstrap.sh).

VENV ?= .venv
BUILD ?= build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
export VENV BUILD
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(JOBS)
PY := $(VENV)/bin/python

.PHONY: demo test bench lint sanitize soak planted clean

demo:
	@scripts/bootstrap.sh demo
	@scripts/build.sh
	@$(PY) scripts/demo.py $(DEMO)

test:
	@scripts/bootstrap.sh test
	@scripts/build.sh tests
	@ctest --test-dir $(BUILD) --output-on-failure
	@SRVDB_BUILD_DIR=$(abspath $(BUILD)) $(PY) -m pytest $(PYTEST)

bench:
	@scripts/bootstrap.sh bench
	@scripts/build.sh
	@$(PY) -m benchmarks.run $(BENCH)

lint:
	@scripts/bootstrap.sh test lint
	@scripts/build.sh
	@JOBS=$(JOBS) scripts/lint.sh

sanitize:
	@scripts/bootstrap.sh test
	@JOBS=$(JOBS) scripts/sanitize.sh

soak:
	@scripts/bootstrap.sh test
	@scripts/build.sh tests
	@$(BUILD)/srvdb_soak $(or $(SOAK),--seconds 600 --seed 1)
	@$(if $(SOAK),,SRVDB_MODEL_SECONDS=$${SRVDB_MODEL_SECONDS:-600} $(PY) -m pytest -q -s \
	  tests/python/test_model.py -k seed_after_seed)
	@$(if $(SOAK),,SRVDB_FILTER_SECONDS=$${SRVDB_FILTER_SECONDS:-600} $(PY) -m pytest -q -s \
	  tests/python -k "filter and seed_after_seed")

planted:
	@scripts/bootstrap.sh test
	@cmake -S . -B $(BUILD)/planted -G Ninja -DSRVDB_PLANTED_BUGS=ON \
	  -DPython_EXECUTABLE=$(abspath $(PY)) >/dev/null
	@ninja -C $(BUILD)/planted --quiet srvdb_soak
	@$(BUILD)/planted/srvdb_soak --planted $(or $(SOAK),--seconds 20 --seed 1)

clean:
	rm -rf $(BUILD) $(VENV) .deps dist wheelhouse demo-db
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
