# Every command of the project. Each cargo call uses exactly `--workspace --all-targets --locked`:
# a narrower selection resolves other features and builds the dependencies again.

SELECT := --workspace --all-targets --locked
STEP := scripts/step

export HIGUMA_ENVOY ?= $(CURDIR)/.tools/envoy-1.40.0/envoy

.DEFAULT_GOAL := help
.PHONY: help setup build demo lab-up lab-demo lab-down bench-lab bench-store chaos chaos-soak mutants chaos-clean test lint fix audit clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check the tools, install Envoy below .tools/
	@scripts/setup

build: setup ## Build everything (debug)
	cargo build $(SELECT)

demo: build ## A three-node global, two zones and real Envoys on this machine
	scripts/demo

lab-up: build ## The same in containers, with a network for each zone (Docker is set up if need be)
	@scripts/lab up

lab-demo: build ## The story of `make demo` on that lab, or on one of its own if none is up
	@scripts/lab-demo

lab-down: ## End that and remove its containers, networks and volumes
	@scripts/lab down

CHAOS := $${CARGO_TARGET_DIR:-target}/debug/higuma-chaos

chaos: build ## Break it and judge what clients saw: TEST=register NEMESIS=mixed TIME=30s SEED=7 (as root)
	@scripts/setup-chaos
	$(CHAOS) run --test $(or $(TEST),register) --nemesis $(or $(NEMESIS),mixed) --time $(or $(TIME),30s) $(if $(SEED),--seed $(SEED)) --database $(or $(DATABASE),processes)

chaos-soak: build ## Every chaos test under every nemesis, some ninety minutes: TIME=30s SEED=1 (as root)
	@scripts/setup-chaos
	scripts/chaos-soak $(or $(TIME),30s) $(or $(SEED),1)

mutants: build ## Show that the chaos tests find deliberate defects (as root)
	@scripts/setup-chaos
	$(CHAOS) mutants

chaos-clean: build ## Remove what chaos runs left behind that were killed (as root)
	$(CHAOS) clean

# One binary as users get it: without the features that tests switch on.
bench-lab: setup ## Figures of a lab from a release build (RECORD=1: into docs/benchmarks.md)
	cargo build --release --locked --package higuma-cli --bin higuma
	scripts/bench-lab

bench-store: setup ## Figures of the store beside etcd's, from a release build (RECORD=1: into docs/benchmarks.md)
	cargo build --release --locked --package higuma-cli --bin higuma --package higuma-bench --bin bench-store
	scripts/bench-store

test: ## All that must be green before a change goes in (read-only)
	@$(STEP) setup scripts/setup
	@$(MAKE) --no-print-directory lint
	@$(STEP) build cargo build $(SELECT)
	@$(STEP) test scripts/run-tests
	@$(STEP) doctest cargo test --workspace --doc --locked --quiet
	@$(STEP) power-cut scripts/if-possible power-cut scripts/power-cut --cuts 4 --seed 7 --writer "$(or $(CARGO_TARGET_DIR),target)/debug/examples/log_writer"
	@$(STEP) demo scripts/demo
	@$(STEP) clean-leave scripts/clean-leave
	@$(STEP) names scripts/if-possible names scripts/names
	@$(STEP) lab-smoke scripts/lab-smoke
	@$(STEP) chaos scripts/chaos-if-possible smoke
	@$(STEP) mutants scripts/chaos-if-possible mutants

lint: ## Format, clippy and rustdoc, warnings are errors
	@$(STEP) fmt cargo fmt --all --check
	@$(STEP) clippy cargo clippy $(SELECT) -- -D warnings
	@$(STEP) doc env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked

fix: ## Format, and apply what clippy can repair by itself
	cargo fmt --all
	cargo clippy $(SELECT) --fix --allow-dirty --allow-staged

audit: ## Licences and known vulnerabilities of the dependencies
	scripts/audit

clean: ## Remove build output and installed tools (a lab's data stays: `higuma lab down`)
	cargo clean
	rm -rf .tools
