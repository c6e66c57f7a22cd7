# The contributor's guide: every command of the project, each one line to run.

VENV := .venv
BIN := $(VENV)/bin
CARGO ?= cargo
SEQ_LEN ?= 64k
NUM_SEQUENCES ?= 8

.DEFAULT_GOAL := help
.PHONY: help install run test rust-test python-test lint torture fuzz fuzz-coverage wheel bench clean

help:  ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(BIN)/python:
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Release mode, straight into the repository's environment.
install: $(BIN)/python  ## Build the package in release mode and install it into .venv
	$(BIN)/python -m pip install --quiet --editable .

run: install  ## Synthesise 64K-token sequences from the sample corpus that the package ships
	$(BIN)/nextlong synthesize --sample --output out --seq-len $(SEQ_LEN) \
		--num-sequences $(NUM_SEQUENCES) --overwrite

$(VENV)/.tested: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --group test
	touch $@

test: install $(VENV)/.tested lint rust-test python-test  ## Build; lints, type checks, all tests

lint: install $(VENV)/.tested  ## Formatting, clippy, ruff, mypy, stub and border checks
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --lib --tests --quiet -- -D warnings
	$(BIN)/ruff format --check python tests benches
	$(BIN)/ruff check python tests benches
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest nextlong_rs._nextlong --ignore-missing-stub
	sh tests/borders.sh

rust-test:  ## Tests of the core
	$(CARGO) test --release --workspace --quiet

python-test: install $(VENV)/.tested  ## Tests of the package
	$(BIN)/python -m pytest

torture: install $(VENV)/.tested  ## Kill a run at 200 random moments; it must go on to the same bytes
	$(BIN)/python tests/support/killing.py 200

# Where a budget is not enough: FUZZ_CASES=1000000 make fuzz.
FUZZ_CASES ?= 100000
fuzz: install $(VENV)/.tested  ## Random and hostile input with a large budget, in both languages
	PROPTEST_CASES=$(FUZZ_CASES) $(CARGO) test --release --workspace \
		--lib --test fuzz_corpus --test fuzz_sequences --test trust --test laws_chunk --test laws_fill
	HYPOTHESIS_PROFILE=slow $(BIN)/python -m pytest tests/untrusted

# Guided by coverage, under AddressSanitizer; its first build takes half an hour of one core.
FUZZ_SECONDS ?= 300
fuzz-coverage:  ## cargo-fuzz on every hostile surface of the core; needs nightly Rust
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { \
		echo "needs nightly Rust and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz"; exit 1; }
	set -e; for target in assemble chunk jsonl ngrams trust write; do \
		mkdir -p rust/fuzz/corpus/$$target; \
		$(CARGO) +nightly fuzz run --fuzz-dir rust/fuzz $$target rust/fuzz/corpus/$$target \
			rust/fuzz/seeds/$$target -- -max_total_time=$(FUZZ_SECONDS); done

wheel: $(BIN)/python  ## The wheel and the sdist, tried out in a fresh environment
	sh tests/wheel.sh $(abspath $(BIN)/python)

bench: install $(VENV)/.tested  ## All Python benchmarks, each beside its peers: the README's table
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/tokenizers-rc \
		tokenizers==1.0.0rc3
	NEXTLONG_TOKENIZERS_RC=$(abspath $(VENV)/tokenizers-rc) $(BIN)/python benches/table.py

clean:  ## Remove what builds and runs left
	rm -rf target $(VENV) dist out
