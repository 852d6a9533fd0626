# make demo    set up, train a small teacher, compress it, print the verdict (under 10 minutes)
# make test    set up, run the fast tests              make test-all  the long ones too, resumable
# make lint    ruff and mypy                           make sizes     lines of every source file
# make fuzz    every parser under atheris, FUZZ_SECONDS each, then the property tests at length
# make setup   only set up                             make clean     remove what was built
# make test-anew  forget which suites of test-all have passed

PYTHON ?= python3
VENV ?= .venv
THREADS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEACHER := runs/digits/resnet18.pt
SOURCES := $(shell find compressor export benchmarks -name '*.py' -o -name '*.j2')
SUITES := $(patsubst %.py,runs/.suites/%,$(sort $(shell find tests -name 'test_*.py')))
MARKS ?= not gpu
FUZZ_SECONDS ?= 60
LAWS := $(sort $(shell grep -l "hypothesis import" -r tests --include="test_*.py"))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-anew fuzz lint sizes clean

help:
	@grep '^# make' Makefile | cut -c3-

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; name another: make PYTHON=python3.12" >&2; exit 2; }
	@echo "installing into $(VENV): once, about three minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(TEACHER): | $(STAMP)
	$(BIN)/compressor train --arch torchvision:resnet18 --data digits --epochs 12 \
	  --threads $(THREADS) --out $@

demo: $(STAMP) $(TEACHER)
	$(BIN)/compressor build --teacher $(TEACHER) --arch torchvision:resnet18 --data digits \
	  --sparsity 0.7 --minutes 2 --threads $(THREADS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(THREADS)

# One stamp per file: a suite that was stopped goes on with the files that have not passed yet.
# Real data are used where COMPRESSOR_DATA names their folder; with a GPU: make test-all MARKS=
test-all: $(STAMP) $(SUITES)
	@echo "every suite has passed; make test-anew forgets that"

runs/.suites/%: %.py $(SOURCES)
	$(BIN)/python -m pytest -q -m '$(MARKS)' $< || test $$? -eq 5  # 5: no test in it
	@mkdir -p $(@D) && touch $@

test-anew:
	rm -rf runs/.suites

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzzing --seconds $(FUZZ_SECONDS)
	HYPOTHESIS_PROFILE=long OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(LAWS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sizes:
	@git ls-files -- '*.py' | xargs wc -l | sort -rn \
	  | awk '$$2 == "total" { printf "%6d  %s\n", $$1, "all Python"; next } { printf "%6d  %s\n", $$1, $$2 }'

clean:
	rm -rf build dist *.egg-info runs/.suites
