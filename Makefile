# The commands of this project. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test fmt lint doc unit conformance golden browser deploy-check audit chaos fuzz kernels gpu-check \
	wheels bench-stats bench-rpc bench-idle bench-limits bench-monitor bench-training long-job python bench-python

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Train six small networks under a private server and compare the arms
	@scripts/need.sh build-essential
	cargo run --locked -- demo

test: ## Every check of CI, with its set-up; the last lines sum up
	@scripts/test.sh

fmt: ## Format the sources
	cargo fmt --all

lint: ## Formatting, proto, dependencies and clippy
	@scripts/test.sh formatting proto dependencies clippy

doc: ## Build the documentation of the code, without warnings
	@scripts/test.sh docs

unit: ## Only the tests beside the code, of all crates: no database server, no other process
	cargo test --workspace --locked --lib

conformance: ## The suite that both databases must pass
	@scripts/need.sh build-essential postgresql
	cargo test --locked --test conformance

golden: ## The schedules against recorded curves of other libraries: [DIR=folder] has other cases
	@scripts/golden.sh $(DIR)

browser: ## Only the convergence monitor in a real Chromium; screenshots go to target/screenshots
	@scripts/test.sh browser

deploy-check: ## Render and validate deploy/
	@scripts/test.sh deployment

MINUTES ?= 10
REPLICAS ?= 1
chaos: ## Train against REPLICAS=1 servers that are killed, stopped and cut off, for MINUTES=10 minutes
	@scripts/need.sh build-essential postgresql
	LRS_CHAOS_MINUTES=$(MINUTES) LRS_CHAOS_REPLICAS=$(REPLICAS) cargo test --locked --test chaos

long-job: ## A job of 10,000,000 steps whose rate moves at every step: its memory and its time a step stay as they begin
	LRS_LONG_JOB_STEPS=10000000 cargo test --release --locked -p lrs-engine --test long_job

fuzz: ## Feed every decoder random input for MINUTES=10 minutes
	@scripts/fuzz.sh $(MINUTES)

audit: ## Look up the dependencies in RustSec's advisories (needs GitHub)
	@scripts/test.sh advisories

python: ## Check and test the Python client against the server of this clone
	@scripts/test.sh python_client

PROFILE ?= dist
wheels: ## Build the packages for PyPI into target/wheels: [PROFILE=dist]
	@scripts/wheels.sh $(PROFILE)

bench-python: ## A step of the Python client beside PyTorch's own scheduler, and its background work
	@scripts/need.sh build-essential
	cargo build --release --locked
	@environment=$$(scripts/python-client.sh) && cd clients/python && "$$environment/bin/python" hatch_build.py && \
	  LRS_BINARY=../../target/release/lrs PYTHONPATH=src "$$environment/bin/python" bench/step.py

bench-stats: ## Statistics of batches on the CPU, and on a GPU if there is one: a table and a line of JSON
	@scripts/need.sh build-essential
	cargo bench --locked --bench stats_devices

gpu-check: ## On a machine with a GPU: the kernels' bits against the CPU's, and all timings
	@scripts/gpu-check.sh

kernels: ## Compile the CUDA kernels to PTX: no GPU is needed
	@scripts/kernels.sh

bench-rpc: ## Latency and ingest against a bare tonic echo
	@scripts/need.sh build-essential postgresql
	cargo bench --locked --bench rpc

bench-monitor: ## How fresh the monitor is, how it grows in a day, and what its viewers cost the server
	@scripts/need.sh build-essential chromium chromium-driver
	cargo bench --locked --bench monitor

bench-idle: ## What registered jobs cost that nobody uses, and thousands of trainers that come back at once
	@scripts/need.sh build-essential postgresql
	cargo bench --locked --bench idle

bench-limits: ## Latencies of a well-behaved trainer beside badly behaved ones
	@scripts/need.sh build-essential
	cargo bench --locked --bench limits

bench-training: ## Train under the service and without: [SET=tuning NAMES=a,b LENGTHS=60,200 SEEDS=3 POLICIES=p SCEN=m1]
	@scripts/bench-training.sh $(if $(SET),--set $(SET)) $(if $(ANCHORS),--anchors $(ANCHORS)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(NAMES),--names $(NAMES)) $(if $(LENGTHS),--lengths $(LENGTHS)) \
		$(if $(POLICIES),--policies $(POLICIES)) $(if $(SCEN),--scen $(SCEN)) $(if $(JOBS),--jobs $(JOBS)) \
		$(BENCH_OPTIONS)
