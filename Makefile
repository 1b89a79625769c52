# `make` alone lists the targets. PYTHON=python3.12 chooses the interpreter of a new .venv.
SHELL := /bin/sh
PYTHON ?=
export PYTHON
BIN := .venv/bin
LOCKS := requirements-build.lock pyproject.toml scripts/setup.sh
# Generated sets, and the environments of the generator and of peers.
BENCH_CACHE ?= build/bench
HISTORICAL50K ?= ../shared/data/historical_figures_with_errors_50k.parquet
# A file's tests stay in one process; more processes than cores only wait for each other.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/pytest --durations=10 $(PYTEST_FLAGS)
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-spark test-face check format lock proto bench bench-quick redteam clean images

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: .venv/.run ## a search among invented notices, on this machine; Ctrl-C ends it
	@end=; [ -t 1 ] || end=--exit; exec $(BIN)/kinlink demo $$end $(DEMO_FLAGS)

test: .venv/.dev ## every test but the slow ones; installs their Debian packages where it may
	@scripts/apt-extras prometheus chromium postgresql softhsm2
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadfile -m 'not slow and not spark and not face'

test-slow: .venv/.dev ## image builds, large benches, load
	@scripts/apt-extras prometheus chromium postgresql debootstrap buildah
	$(PYTEST) -m slow

test-spark: .venv/.spark ## the Spark engine on a master and two workers; installs pyspark (0.9 GB) and Java
	@scripts/apt-extras default-jre-headless
	$(PYTEST) -m spark tests/spark

test-face: .venv/.face ## photographs to face vectors; installs dlib and its weights (130 MB)
	$(PYTEST) -m face tests/face

check: .venv/.dev ## format, lint, types, imports, protocol, manifests, rules, docs
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/check.py $(STEPS)

format: .venv/.dev ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/buf format --write

lock: .venv/.dev ## write the lock files again; UPGRADE=1 takes newer versions
	scripts/lock.sh

proto: .venv/.dev ## regenerate proto/gen
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHON=$(BIN)/python scripts/proto.sh

bench: bench-quick ## every benchmark beside its peer; needs PyPI and HISTORICAL50K=FILE
	$(BIN)/python bench/historical50k.py $(HISTORICAL50K)
	$(BIN)/python bench/million.py $(BENCH_CACHE) $(MILLION_FLAGS)
	$(BIN)/python bench/encode.py $(BENCH_CACHE)
	$(BIN)/python bench/arrive.py
	$(BIN)/python bench/key_server.py
	$(BIN)/python bench/reunion.py
	$(BIN)/python bench/growth.py $(BENCH_CACHE) $(GROWTH_FLAGS)
	$(BIN)/python bench/growth.py $(BENCH_CACHE) --registries 31 --sizes 1m

bench-quick: .venv/.dev ## the benchmarks that end within minutes: FEBRL4, the key server; in CI too
	$(BIN)/python bench/febrl4.py
	$(BIN)/python bench/key_server.py --evaluations 16384

redteam: .venv/.dev ## attack what a linker holds, and classical encodings beside it; hours
	$(BIN)/python -m redteam $(REDTEAM_FLAGS)

images: ## build the four images with buildah
	scripts/build-images.sh

clean: ## remove .venv and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

.venv/.run: $(LOCKS) services/registry/requirements.lock services/linker/requirements.lock services/gateway/requirements.lock services/keyserver/requirements.lock
	@scripts/setup.sh run

.venv/.spark: .venv/.dev services/linker/requirements-spark.lock
	@scripts/setup.sh spark

.venv/.face: .venv/.dev deploy/local/requirements-face.lock tests/face/requirements.lock
	@scripts/setup.sh face

.venv/.dev: $(LOCKS) requirements.lock
	@scripts/setup.sh dev
