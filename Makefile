# `make` prints what there is to make.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A shell that has not read rustup's profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# What `make build` makes. The demo takes the build that the tests use: it is there in a third of the time.
PROFILE ?= release
# More arguments for the program at the end of a target: make demo ARGS="--duration 60s", make test ARGS="--lib select".
ARGS ?=

# Tests mostly wait: for a source in real time, a process, a browser, a disk.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

# Seconds that `make fuzz` gives each target.
TIME ?= 60
FUZZ_TEXT = playlist attributes time sessions
FUZZ_MEDIA = restamp mpegts mp4

DEMO = $${CARGO_TARGET_DIR:-target}/debug/segvault
SCRIPTS = .ci/run $(wildcard scripts/*.sh deploy/docker/*.sh)

.PHONY: help demo test build deps fmt lint clippy shellcheck ui deploy deny dashboards docs image soak fuzz fuzz-api bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## Install what is missing, build, run a live test source and a node
	@scripts/deps.sh demo
	cargo build --locked
	@exec $(DEMO) demo $(ARGS)

test: ## Install what the tests need and run them all
	@scripts/deps.sh test
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --locked --no-fail-fast $(ARGS)

build: ## Build the binary: target/release/segvault
	@scripts/deps.sh build
	cargo build --locked --profile $(PROFILE)

deps: ## Install what building, the demo and the tests need (Debian, Ubuntu); asks nothing
	@scripts/deps.sh test

fmt: ## Format the code
	cargo fmt

lint: clippy shellcheck ui deploy deny ## Formatting, clippy, shell scripts, the page, manifests, licences: everything but the tests
	cargo fmt --check

clippy:
	cargo clippy --locked --all-targets -- -D warnings

shellcheck:
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo 'shellcheck is not installed: skipped'; fi

ui: ## Check the types of the page's scripts, and lint them, where Node is installed
	@scripts/ui.sh

deploy: ## Check what deploy/ holds: every overlay against three versions of Kubernetes, the Dockerfile
	@scripts/kubernetes.sh
	@if command -v hadolint >/dev/null; then hadolint deploy/docker/Dockerfile; else echo 'hadolint is not installed: skipped'; fi
	@if command -v promtool >/dev/null; then promtool check config deploy/prometheus/prometheus.yaml >/dev/null && promtool test rules deploy/prometheus/tests/*.yaml >/dev/null; else echo 'promtool is not installed: skipped'; fi

deny: ## Check the licences, names and sources of all dependencies against deny.toml
	cargo test --locked --test it deny:: -- --nocapture

dashboards: ## Write deploy/grafana from its source, tests/it/dashboards.rs
	WRITE_DASHBOARDS=1 cargo test --locked --test it dashboards::dashboards_are

docs: ## Write docs/configuration.md and docs/http-api.md from their sources
	WRITE_DOCS=1 cargo test --locked --test it reference::

image: ## Try what the Dockerfile does, without an engine for containers (takes root and debootstrap)
	@scripts/image.sh

soak: ## Run the long tests (named soak_…), in release mode, one after the other
	@scripts/deps.sh test
	SEGVAULT_SEED=$${SEGVAULT_SEED:-any} cargo test --locked --release --test it -- --ignored --nocapture --test-threads=1 soak_

fuzz: ## Feed the readers of foreign text and media with anything: make fuzz TIME=600 (seconds for each; a minute unless told)
	@scripts/deps.sh build
	@rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	for target in $(FUZZ_TEXT); do \
		mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run --sanitizer none $$target fuzz/corpus/$$target tests/vectors/twitch -- \
			-max_total_time=$(TIME) -max_len=4096 -dict=fuzz/playlist.dict -print_final_stats=1; \
	done
	for target in $(FUZZ_MEDIA); do \
		mkdir -p fuzz/corpus/$$target; \
		seeds=tests/vectors/ts; [ ! -d fuzz/seeds/$$target ] || seeds=fuzz/seeds/$$target; \
		cargo +nightly fuzz run --sanitizer none $$target fuzz/corpus/$$target $$seeds -- \
			-max_total_time=$(TIME) -max_len=16384 -print_final_stats=1; \
	done

fuzz-api: ## Ask a node whatever its description of /api allows, and what it does not (python3; takes a minute)
	cargo build --locked
	@scripts/fuzz-api.sh $(ARGS)

bench: ## Measure a week's tree, and copying, against the limits of this machine; writes docs/performance.md (7 GB below target/bench)
	@scripts/deps.sh build
	cargo bench --locked --bench pure -- --quiet
	cargo bench --locked --bench week
	cargo bench --locked --bench copies

clean: ## Remove everything that was built
	cargo clean
