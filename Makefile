# What people type. Each target is one script or a few cargo calls, so that nothing here needs make.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-openbao bench-scale bench-long bench-pieces mutants fuzz deps
SHELL := /bin/bash
CARGO ?= cargo

# The Python agent of the tests runs in an environment of its own; `make deps` fills it.
export NOCKVAULT_PYTHON ?= $(CURDIR)/target/python/bin/python

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the product in one screen: a vault, an agent, a secret, a refused replay, a verified trail
	@.ci/deps compiler
	$(CARGO) build --bins --examples
	@bash examples/demo.sh

test: deps lint ## everything: installs what is missing, then lints, tests and doc tests
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  set -x; $(CARGO) nextest run --config-file .ci/nextest.toml --no-fail-fast && $(CARGO) test --doc; \
	else \
	  set -x; $(CARGO) test --no-fail-fast; \
	fi

lint: ## format, clippy (whole, and the bare verifier) and docs, with no warning left
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --no-default-features --lib --bin vault-verify -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# More words for the benches: make bench BENCH="--repeats 5 --seconds 10"
BENCH ?=
PYTHON ?= python3

bench: ## what an issuance costs: a vaultd on a real disk under load, beside the sum of its pieces; minutes
	$(CARGO) build --release --bin vaultd --bin vaultctl --example load
	@$(PYTHON) benches/run/bench.py $(BENCH)

bench-openbao: ## the same jobs for OpenBao and for vaultd, in turn, in one run; installs OpenBao into target/
	$(CARGO) build --release --bin vaultd --bin vaultctl --example load
	@$(PYTHON) benches/run/beside.py $(BENCH)

bench-scale: ## issuing, starting, memory, revoking and verifying as a vault grows to a million entries; some twenty minutes
	$(CARGO) build --release --bins --example load
	@$(PYTHON) benches/run/scale.py $(BENCH)

bench-long: ## issuing at the end of a chain of up to ten million entries; an hour, 11 GB of disk
	$(CARGO) build --release --bins --example load
	@$(PYTHON) benches/run/long.py $(BENCH)

bench-pieces: ## what each piece of an issuance costs alone, and what live leases and long chains cost
	$(CARGO) bench

# ROOMS="authz audit" takes these alone.
ROOMS ?= authn authz audit seal statement

mutants: ## changes the code that decides and proves, one place at a time, and looks whether a test fails; half an hour
	@.ci/mutants $(ROOMS)

# Which reader, and for how many seconds each: make fuzz TARGET=entry SECONDS=3600
TARGET ?=
SECONDS ?= 60

fuzz: ## feeds all that reads what others wrote, under libFuzzer: TARGET=entry SECONDS=3600, else each for a minute
	@.ci/deps compiler
	@tests/fuzz/run "$(TARGET)" "$(SECONDS)"

# What the tests need beside Rust: a C compiler for the bundled SQLite, openssl, Python with gRPC.
deps:
	@.ci/deps
