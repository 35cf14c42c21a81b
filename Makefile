# Two commands do everything: `make run` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
# Three at a time, for much of it waits for a disk, a peer or a process of its own; a file by one of them, since its tests
# share servers. In the order of the folders, which has the long files first: xdist's own, by number, has them last.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder --durations 25
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable

.PHONY: run test retest check unit bench bench-peers fuzz clean

# First run: virtual environment, install, a new archive on loopback, sample studies. Later runs start the same archive.
run: $(INSTALLED)
	@$(BIN)/python tools/demo.py $(DEMO)

test: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PYTEST_ARGS)

# Only what failed the last time: real peers on a busy machine time out now and then, and twice is no accident.
retest: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --last-failed --last-failed-no-failures none

# The fast half of `make test`, for working on the code: no peers, no crash loops.
check: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/unit tests/protocol tests/property tests/obligations

bench-peers: $(TESTABLE)
	PYTHON=$(BIN)/python sh bench/install_peers.sh

bench: $(TESTABLE)
	$(BIN)/python bench/run.py all
	$(BIN)/python bench/report.py

FUZZ_SECONDS ?= 60
fuzz: $(TESTABLE)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	mkdir -p fuzz-corpus
	cd fuzz-corpus && ../$(BIN)/python ../tests/fuzz/fuzz_elements.py -max_total_time=$(FUZZ_SECONDS) -max_len=600 .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --only-binary :all: --no-binary strongroom -e '.[demo]'
	@touch $@

# DicomLock, which screening is compared with, has an environment of its own: it brings a codec under the GPL. Without it
# that comparison is skipped.
$(TESTABLE): pyproject.toml $(INSTALLED)
	$(BIN)/pip install -q --disable-pip-version-check --only-binary :all: --no-binary strongroom -e '.[test]'
	-$(PYTHON) -m venv $(VENV)/dicomlock && \
	  $(VENV)/dicomlock/bin/pip install -q --disable-pip-version-check --only-binary :all: 'dicomlock==0.8.*'
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
