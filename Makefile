# The only entry: people and CI call the same targets. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# For every call of cargo, for example CARGO_FLAGS=--locked.
CARGO_FLAGS ?=
# The profile of programs that are run, not only tested: release or dev.
PROFILE ?= release
# run
ARGS ?=
# bench
BENCH_SECONDS ?= 10
BENCH_ARGS ?=
# bench-import
BENCH_IMPORT_ARGS ?=
# bench-cluster
BENCH_CLUSTER_ARGS ?=
# chaos
CHAOS_SECONDS ?= 180
CHAOS_KILLS ?= 40
CHAOS_USERS ?= 200
CHAOS_RATE ?= 2500
# chaos-cluster
CHAOS_CLUSTER_ARGS ?=
# chaos-webhooks
CHAOS_WEBHOOKS_ARGS ?=
# transfers
TRANSFERS_ARGS ?=
# test-cluster: names of tests, or parts of names
TEST_CLUSTER ?= attachments:: attacks:: eviction:: files:: hooks:: idempotency:: pull:: retention::what_is_older tokens:: uploads:: walls:: webhooks::
# transfers-measure
MEASURE_BYTES ?= 2147483648
# sim: seeds FROM .. FROM+SEEDS
SEEDS ?= 1000
FROM ?= 0
# fuzz: seconds for each target
SECONDS ?= 60
# fuzz-api: seconds for each caller
API_SECONDS ?= 60
# cluster
CLUSTER_ARGS ?=
CLUSTER_PID ?= target/local-cluster.pid
# backends: where what they consist of is kept
export STONECHAT_BACKENDS ?= $(HOME)/.cache/stonechat-backends

RUN := cargo run $(CARGO_FLAGS) --quiet --profile $(PROFILE)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## A development server on 127.0.0.1:4000 with a demo tenant; ARGS="--data DIR" for more
	cargo run $(CARGO_FLAGS) --profile $(PROFILE) --package stonechat -- run --dev $(ARGS)

.PHONY: build
build: ## The binary: target/release/stonechat
	cargo build $(CARGO_FLAGS) --profile $(PROFILE) --package stonechat

.PHONY: test
test: ## Every test
	cargo test $(CARGO_FLAGS) --workspace

.PHONY: check
check: fmt-check lint tidy ## Everything that CI checks without running the product

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Whether the code is formatted
	cargo fmt --all -- --check

.PHONY: lint
lint: ## Clippy and rustdoc, warnings are errors
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps --quiet

.PHONY: tidy
tidy: ## The repository's own rules: sizes, names, directions, contracts, licences, generated pages
	cargo run $(CARGO_FLAGS) --quiet --package stonechat-tidy -- warnings
	cargo test $(CARGO_FLAGS) --quiet --package stonechat-tidy

.PHONY: docs
docs: ## Write the generated pages (docs/configuration.md, errors.md, limits.md, deploy/stonechat.toml)
	cargo run $(CARGO_FLAGS) --quiet --package stonechat-tidy -- docs

.PHONY: proto-accept
proto-accept: ## Accept what was added to the contracts as their baseline; refuses breaking changes
	cargo run $(CARGO_FLAGS) --quiet --package stonechat-tidy -- proto

.PHONY: bench
bench: ## Speed and size of the embedded mode, as a table; BENCH_ARGS=--json as JSON
	ulimit -n "$$(ulimit -Hn)" && $(RUN) --package stonechat -- bench all --spawn --seconds $(BENCH_SECONDS) $(BENCH_ARGS)

.PHONY: bench-import
bench-import: ## A million messages imported, exported and compared, with memory and what pages cost; BENCH_IMPORT_ARGS=--help for more
	$(RUN) --package stonechat -- bench import --spawn $(BENCH_IMPORT_ARGS)

.PHONY: bench-cluster
bench-cluster: backends ## Cost of a cluster by role beside the embedded mode; BENCH_CLUSTER_ARGS=--help for more
	cargo build $(CARGO_FLAGS) --profile $(PROFILE) --package stonechat --features cluster
	ulimit -n "$$(ulimit -Hn)" && $(RUN) --package stonechat-cluster-tests --bin bench-cluster -- $(BENCH_CLUSTER_ARGS)

.PHONY: chaos
chaos: ## A crash storm: CHAOS_KILLS kill -9 in CHAOS_SECONDS under CHAOS_RATE sends/s; and a full disk
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat
	$(RUN) --package stonechat-chaos -- --seconds $(CHAOS_SECONDS) --kills $(CHAOS_KILLS) \
		--users $(CHAOS_USERS) --rate $(CHAOS_RATE)
	$(RUN) --package stonechat-chaos -- --full-disk --seconds 12 --kills 2 --users 20 --rate 100

.PHONY: chaos-cluster
chaos-cluster: backends ## A storm over a cluster, ten minutes of all that may happen; CHAOS_CLUSTER_ARGS=--help for more
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat --features cluster
	$(RUN) --package stonechat-cluster-tests --bin chaos-cluster -- $(CHAOS_CLUSTER_ARGS)

.PHONY: rolling-cluster
rolling-cluster: backends ## Every process of a cluster restarted under load, in order: who notices what
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat --features cluster
	$(RUN) --package stonechat-cluster-tests --bin chaos-cluster -- --faults rolling --every 12 $(CHAOS_CLUSTER_ARGS)

.PHONY: chaos-webhooks
chaos-webhooks: ## A storm over webhooks: receiver and server are killed under load; CHAOS_WEBHOOKS_ARGS=--help for more
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat
	tests/venv.sh target/webhook-tools services/webhooks/chaos/requirements.txt
	target/webhook-tools/bin/python services/webhooks/chaos/chaos.py --binary target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/stonechat \
		$(CHAOS_WEBHOOKS_ARGS)

.PHONY: transfers
transfers: ## Uploads by public clients of tus over cut connections, the server killed; TRANSFERS_ARGS=--help for more; needs python3, installs npm where it is missing
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat
	tests/venv.sh target/transfer-tools/python tests/transfers/clients/requirements.txt
	mkdir -p target/transfer-tools/node && cp tests/transfers/clients/package.json target/transfer-tools/node
	command -v npm >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends npm; }
	npm install --prefix target/transfer-tools/node --no-package-lock --ignore-scripts --no-audit --no-fund --silent
	$(RUN) --package stonechat-transfers -- --python target/transfer-tools/python/bin/python \
		--node target/transfer-tools/node $(TRANSFERS_ARGS)

.PHONY: transfers-measure
transfers-measure: ## Speed, processor time and memory of transfers of 2 GiB, beside nginx (which it needs) in the same run
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat
	$(RUN) --package stonechat-transfers -- --bytes $(MEASURE_BYTES) --measure "$$(PATH="$$PATH:/usr/sbin" command -v nginx)" $(TRANSFERS_ARGS)

.PHONY: cluster
cluster: backends ## A cluster on loopback: real Kafka, Cassandra and Redis, every role; CLUSTER_ARGS=--help for more
	cargo build $(CARGO_FLAGS) --profile $(PROFILE) --package stonechat --features cluster
	$(RUN) --package stonechat-cluster-tests --bin local-cluster -- --pid-file "$(CLUSTER_PID)" $(CLUSTER_ARGS)

.PHONY: cluster-down
cluster-down: ## End what `make cluster` started
	$(RUN) --package stonechat-cluster-tests --bin local-cluster -- --pid-file "$(CLUSTER_PID)" --down

.PHONY: sim
sim: ## The simulation with SEEDS=1000 seeds from FROM=0 on, or with the one SEED=N
	$(RUN) --package stonechat-simulation -- \
		$(if $(SEED),--seed $(SEED),--seeds $(FROM)..$$(($(FROM) + $(SEEDS))))

.PHONY: fuzz
fuzz: ## Every parser under libFuzzer for SECONDS=60 each; needs a C++ compiler
	fuzz/run.sh $(SECONDS)

.PHONY: fuzz-stable
fuzz-stable: ## Every parser with mutated input for SECONDS=60 each; needs nothing
	$(RUN) --package stonechat-fuzz-targets --bin fuzz-stable -- --seconds $(SECONDS)

.PHONY: fuzz-api
fuzz-api: ## The API under Schemathesis for API_SECONDS=60 as each caller, and its OpenAPI document judged; needs python3
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat
	fuzz/api.sh target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/stonechat $(API_SECONDS)

.PHONY: backends
backends: ## Fetch the real servers that the cluster's tests start; what apt lacks it installs
	tests/backends/fetch.sh "$(STONECHAT_BACKENDS)"

.PHONY: test-backends
test-backends: backends ## The suites of the seams on real servers: Kafka, Cassandra, Redis, S3, clamd
	cargo test $(CARGO_FLAGS) --package stonechat-backends
	cargo test $(CARGO_FLAGS) --package stonechat-presence --features cluster --test redis
	cargo test $(CARGO_FLAGS) --package stonechat-rows --features cluster --test cql
	cargo test $(CARGO_FLAGS) --package stonechat-blobs --features s3
	cargo test $(CARGO_FLAGS) --package stonechat-scan -- --include-ignored
	cargo test $(CARGO_FLAGS) --package stonechat --test product scan:: -- --include-ignored
	cargo test $(CARGO_FLAGS) --package stonechat --features s3 --test product direct:: -- --include-ignored
	cargo test $(CARGO_FLAGS) --package stonechat-log --features cluster --test kafka
	cargo test $(CARGO_FLAGS) --package stonechat-cluster-tests --features cluster

.PHONY: test-cluster
test-cluster: backends ## The product's tests against a cluster of real backends, behind one address
	cargo build $(CARGO_FLAGS) --quiet --profile $(PROFILE) --package stonechat --features cluster
	$(RUN) --package stonechat-cluster-tests --bin local-cluster -- --set STONECHAT_WEBHOOKS__RETRY_SCHEDULE_S=1 -- \
		cargo test $(CARGO_FLAGS) --profile $(PROFILE) --package stonechat --features cluster --test product -- \
		--test-threads 1 $(TEST_CLUSTER)

.PHONY: ci
ci: ## What CI runs
	.ci/run
