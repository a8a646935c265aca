# `make` or `make help` lists what there is.

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release
PYTHON := .venv/bin/python
# Of `make test-transformers`, unless PEERS_PYTHON names an environment that has the packages.
HUB_PYTHON := tests/interop/.venv/bin/python

# Where the demonstration lives, and what `make figures` draws.
DEMO := demo
TABLES ?= $(DEMO)/tables
FIGURES ?= $(DEMO)/figures

export BIN
# Without a system library for linear algebra.
PURE := --no-default-features --features gemm

# The same property-test cases on every run of the gate; `cargo test` alone draws new ones.
export PROPTEST_RNG_SEED ?= 2023
.DEFAULT_GOAL := help
.PHONY: help demo test check soak figures bench bench-peers test-slurm test-transformers clean setup build

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

demo: setup build .venv/installed ## from nothing to figures: train, analyse, draw (a minute or two after the build)
	$(BIN)/groundswell-train --preset demo --out $(DEMO)/runs/demo --resume
	$(BIN)/groundswell analyze $(DEMO)/runs --out $(DEMO)/tables
	$(BIN)/groundswell landscape $(DEMO)/runs --out $(DEMO)/tables --between first,memorised,generalised,last
	$(BIN)/groundswell landscape $(DEMO)/runs --out $(DEMO)/tables --plane three:first,memorised,last --grid 31
	$(BIN)/groundswell landscape $(DEMO)/runs --out $(DEMO)/tables --curvature first,memorised,generalised,last --probes 4 --lanczos 30
	$(BIN)/groundswell toy --out $(DEMO)/tables
	$(MAKE) --no-print-directory figures
	@echo
	@echo "archive  $(DEMO)/runs/demo"
	@echo "tables   $(DEMO)/tables"
	@echo "figures  $(DEMO)/figures"

figures: .venv/installed ## draw the figures from TABLES (demo/tables) into FIGURES (demo/figures)
	$(PYTHON) figures/draw.py $(TABLES) $(FIGURES)

PAPER ?= paper-out
paper: setup build .venv/installed ## the paper's experiments into PAPER (paper-out); QUICK=1 for the short ones
	paper/run.sh $(PAPER)

claims: setup build .venv/installed ## the essay's claims on many runs, judged, into PAPER (paper-out); QUICK=1 for the short ones
	paper/claims.sh $(PAPER)

PAPER_FIGURES := fig2 fig3 fig4 fig5 fig6 fig7 fig8 fig10 fig11 fig12 fig16 fig17 fig18 fig19 fig20 \
	decays moduli svd movement trajectory lines components components3d barriers curvature toy
.PHONY: paper claims $(PAPER_FIGURES)
$(PAPER_FIGURES): setup build .venv/installed
	paper/run.sh $(PAPER) $@

test: setup .venv/installed ## everything that a change must pass
	$(CARGO) fmt --check
	$(CARGO) build --release --locked --examples --bins
	$(CARGO) test --release --locked
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	$(CARGO) test --release --locked $(PURE) --lib --test it
	$(CARGO) clippy --release --locked $(PURE) --all-targets -- -D warnings
	$(CARGO) build --release --locked --bins
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps --quiet
	.ci/python-checks $(BIN) $(PYTHON)

check: setup ## the quick part of `test`: format, lints, unit tests
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	$(CARGO) test --release --locked --lib

soak: setup ## the long versions of the tests: more flipped bits, more mutations, the longest headers
	GROUNDSWELL_SOAK=1 $(CARGO) test --release --locked

test-slurm: build ## an array job on a Slurm of one node, started for it (installs slurm-wlm and munge)
	tests/slurm/run.sh $(BIN)

test-transformers: build ## archives that the transformers package saves (installs it and PyTorch, several GB)
	[ -n "$(PEERS_PYTHON)" ] || test -x $(HUB_PYTHON) || { python3 -m venv tests/interop/.venv && \
		$(HUB_PYTHON) -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements-transformers.txt; }
	$(or $(PEERS_PYTHON),$(HUB_PYTHON)) tests/interop/saved_models.py $(BIN)

bench: setup ## micro-benchmarks
	$(CARGO) bench --locked --bench micro

bench-peers: setup ## ratios against PyTorch and NumPy, both sides in turn (installs PyTorch, several GB)
	benches/peers/run.sh

clean: ## remove what was built and drawn; archives and tables of the demonstration, too
	$(CARGO) clean
	rm -rf .venv $(DEMO)

setup:
	@.ci/setup

build: setup
	$(CARGO) build --release --locked --bins

.venv/installed: figures/requirements.txt | setup
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r figures/requirements.txt
	touch $@
