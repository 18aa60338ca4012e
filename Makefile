# What people and CI call. `make help` lists it.
.DEFAULT_GOAL := help
CARGO ?= cargo
# One form of building everywhere: another choice of packages would build torch-sys anew. What is built is what Cargo.lock says.
BINS = $(CARGO) build --locked --quiet --workspace --bins
TESTS = $(CARGO) test --locked --quiet --workspace
RELEASE = $(BINS) --release
PYTHON = .venv-python/bin/python

.PHONY: fuzz fuzz-corpus fuzz-seeds check-upgrade check-supply check-advisories sbom check-deploy check-images check-slurm help libtorch build demo smollm2 test test-python cuda-suite test-cuda chaos bench check goldens sim bench-schedule bench-coordinator

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

libtorch: ## install or find libtorch 2.11 (with CUDA where an NVIDIA driver is)
	@scripts/libtorch.sh

build: libtorch ## build the two binaries, target/release/espalier and espalier-worker
	@echo "building (the first time takes some minutes)"
	$(RELEASE)

demo: build ## two small trained models, six tasks, seven recipes, one report; under two minutes once built
	target/release/espalier run examples/demo.yaml

smollm2: build ## a real language model (SmolLM2-135M), pruned and measured on this machine
	scripts/smollm2.sh
	target/release/espalier run examples/smollm2.yaml

test: libtorch ## every test that needs no Python
	$(BINS)
	$(TESTS)

check: libtorch ## formatting and lints, as CI has them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --quiet --workspace --lib --bins -- -D warnings

$(PYTHON): tests/goldens/make/requirements.txt
	python3 -m venv .venv-python
	.venv-python/bin/pip install --quiet --disable-pip-version-check -r tests/goldens/make/requirements.txt
	touch $(PYTHON)

test-python: libtorch $(PYTHON) ## against the references: transformers, lm-evaluation-harness, scikit-learn, huggingface_hub
	$(BINS)
	$(PYTHON) tests/goldens/make/make.py --check
	$(PYTHON) examples/demo/check.py
	$(PYTHON) tests/python/run.py target/debug
	$(PYTHON) tests/python/hub_cache.py target/debug

DEPLOY_PYTHON = .venv-deploy/bin/python
$(DEPLOY_PYTHON): deploy/check/requirements.txt
	python3 -m venv .venv-deploy
	.venv-deploy/bin/pip install --quiet --disable-pip-version-check -r deploy/check/requirements.txt
	touch $(DEPLOY_PYTHON)

check-deploy: libtorch $(DEPLOY_PYTHON) ## everything under deploy/ against schemas and the built binaries; planted faults are found
	$(BINS)
	$(DEPLOY_PYTHON) deploy/check/check.py target/debug

check-images: libtorch $(DEPLOY_PYTHON) ## both images built and started: a sweep through them (Docker, or root with buildah and debootstrap)
	$(BINS)
	LIBTORCH=$${LIBTORCH:-$(CURDIR)/.libtorch} deploy/check/images.sh target/debug

check-slurm: libtorch ## the sbatch scripts on a SLURM of one node: requeued workers, a coordinator that comes back, no token anywhere (root on Debian, or SLURM)
	$(BINS)
	deploy/check/slurm.sh target/debug

cuda-suite: libtorch ## pack the golden tests for a bare GPU machine: target/cuda-suite.tar.gz
	scripts/cuda-suite.sh

SEEDS ?= 20
chaos: libtorch ## seven workers through SEEDS (default 20) storms of deaths, sweeps that share through a third as many of random orders, hosts through cut cables (root): the same bytes
	$(BINS)
	ESPALIER_SEEDS=$(SEEDS) $(TESTS) --test chaos --test orders --test partitions -- --ignored --nocapture

bench: libtorch ## times of a block's forward and of mask selection, beside the reference's way, as ratios
	$(TESTS) --release --test figures -- --ignored --nocapture --test-threads 1

OLD ?=
check-upgrade: libtorch ## this version with another one's two binaries, of the folder OLD: one bucket, workers and coordinators of each other
	@test -x "$(OLD)/espalier-worker" || { echo "say OLD=FOLDER, with an earlier version's espalier and espalier-worker"; exit 2; }
	$(BINS)
	OLD=$(abspath $(OLD)) $(TESTS) --test upgrade -- --ignored

# Tools of their own, built once: cargo install --locked cargo-deny@0.20.2 cargo-cyclonedx@0.5.9
check-supply: ## licences, sources and bans of every dependency (deny.toml); needs cargo-deny, and no network
	$(CARGO) deny --locked --offline check licenses sources bans

check-advisories: ## known weaknesses of dependencies, yanked ones too; needs cargo-deny, and fetches RustSec's database
	$(CARGO) deny --locked check advisories

sbom: ## what the binaries are made of, CycloneDX: */*.cdx.json; needs cargo-cyclonedx
	$(CARGO) cyclonedx --format json --all

WORLDS ?= 1000000
sim: libtorch ## WORLDS random worlds of the scheduler (default 1000000), on all cores; then the planted faults
	ESPALIER_WORLDS=$(WORLDS) $(TESTS) --lib -- schedule::simulation::worlds --nocapture
	$(TESTS) --lib -- schedule::simulation::planted schedule::simulation::coverage --nocapture

RUNS ?= 10000000
SECONDS ?= 1800
TARGETS ?=
fuzz: ## every reader of strangers' bytes under random ones, RUNS executions (10000000) or SECONDS (1800) each; TARGETS="a b" only those
	RUNS=$(RUNS) SECONDS_EACH=$(SECONDS) scripts/fuzz.sh $(TARGETS)

fuzz-corpus: ## what `make fuzz` found into fuzz/found, packed: the fewest inputs that reach the same code
	MINIMIZE=1 scripts/fuzz.sh $(TARGETS)

fuzz-seeds: libtorch ## first inputs into fuzz/corpus, from the project's own writers and goldens
	$(TESTS) --test seeds -- --ignored

MEASURE = -- --ignored --nocapture --test-threads 1
bench-schedule: libtorch ## how long a step of the scheduler takes, and simulated makespans beside their bound
	$(TESTS) --release --lib $(MEASURE) schedule::simulation

# A real coordinator process, as `make build` makes it, under workers that compute nothing, and one that starts over a million records.
bench-coordinator: libtorch ## what 10,000 connected workers cost a coordinator, and how long it takes to start over 1,000,000 records
	$(TESTS) --release --test serve $(MEASURE) scale:: restart::

DEVICE ?= cuda:0
test-cuda: cuda-suite ## the golden tests on DEVICE (default cuda:0)
	LIBTORCH=$${LIBTORCH:-$(CURDIR)/.libtorch} target/cuda-suite/run.sh $(DEVICE)

goldens: $(PYTHON) ## write the golden files anew from the references
	$(PYTHON) tests/goldens/make/make.py
