# What developers and CI call. Every build is of the dev profile, locked, and in one target folder,
# so `make demo` and `make test` share what they compile.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-build test packages format lint check-features check-docs clients tests generated fuzz soak soak-simulate soak-kill bench deny clean-fleet

target := $(or $(CARGO_TARGET_DIR),target)
# Root starts the fleet: each of its servers gets a mount namespace of its own.
as_root := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=DEMO_EXIT,TMPDIR,NO_COLOR)
# The fake target and the suite that every connector passes; tests need both.
test_features := keywheel-connectors/fake,keywheel-connectors/conformance

help: ## shows this
	@echo "Keywheel. Targets of this Makefile:"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: ## shows Keywheel at work on real servers; DEMO_EXIT=1 ends by itself
	@scripts/packages.sh build fleet
	@$(MAKE) --no-print-directory demo-build
	@exec $(as_root) $(target)/debug/examples/demo

# Service and demo in one call: cargo then builds their common crates once.
demo-build:
	cargo build --locked --bin keywheel --example demo

test: ## everything CI checks, demo apart; installs what is missing
	@scripts/packages.sh all
	@$(MAKE) --no-print-directory format lint check-features check-docs clients tests generated

packages: ## installs the Debian packages for all of this
	@scripts/packages.sh all

format: ## fails if cargo fmt would change a file
	cargo fmt --all --check

lint: ## clippy, warnings denied
	cargo clippy --workspace --all-targets --features $(test_features) --locked -- -D warnings

check-features: ## each connector builds alone
	cargo check -p keywheel-connectors --no-default-features --features ssh --locked
	cargo check -p keywheel-connectors --no-default-features --features ldap --locked
	cargo check -p keywheel-connectors --no-default-features --features dialogue --locked

check-docs: ## rustdoc, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

clients: ## installs the real API clients that the tests run, below target/
	@scripts/clients.sh

tests: ## the tests of the workspace; no snapshot is rewritten
	INSTA_UPDATE=no cargo test --workspace --features $(test_features) --locked --no-fail-fast

generated: ## fails if a test left a new snapshot behind
	@left=$$(find src connectors tests docs -name '*.snap.new' -o -name '*.pending-snap'); \
	[ -z "$$left" ] || { echo "not accepted: $$left"; exit 1; }

fuzz: ## every fuzz target, optimised; CASES=200000 of each
	@scripts/fuzz.sh

soak: soak-simulate soak-kill ## what runs long: simulated worlds, then the real program killed, for an hour

soak-simulate: ## as many simulated worlds as asked for; SEEDS=100000
	KEYWHEEL_SEEDS=$(or $(SEEDS),100000) cargo test --test simulate --features $(test_features) --locked -- --nocapture

soak-kill: ## 500 kills of the real program on real servers, on record in docs/evidence; MINUTES=40 ends it
	@scripts/packages.sh build fleet tests
	cargo test --test kill --no-run --features $(test_features) --locked
	KEYWHEEL_KILL=soak KEYWHEEL_KILL_MINUTES=$(MINUTES) $(as_root) "$$(command -v cargo)" test --test kill --features $(test_features) --locked -- --nocapture nothing_is_lost

bench: ## measurements; needs the fleet's packages
	@scripts/packages.sh build fleet tests bench
	cargo bench --workspace --features $(test_features) --locked --no-fail-fast

deny: ## licences, bans and sources of the dependencies, by cargo-deny
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --all-features --locked check bans licenses sources

clean-fleet: ## ends and removes what a killed demo left behind
	@$(as_root) scripts/clean-fleet.sh
