# What a person types. Each verb sets up what it needs: uv, the virtual environment, Debian packages, Go, the lab.
SHELL := /bin/bash
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --locked
export UV_COMPILE_BYTECODE := 1
export UV_PYTHON_DOWNLOADS := never

.PHONY: demo lab-up lab-down unit test soak check bench setup

demo: setup ## a broker lost with its node and disk, brought back by a runbook
	$(RUN) python -m kafka_runbooks_lab.demo

lab-up: setup ## Kubernetes, Kafka, Temporal and the worker on this machine; FLAVOUR=zookeeper for Kafka in ZooKeeper mode
	$(RUN) kafka-runbooks-lab up $(if $(FLAVOUR),--flavour $(FLAVOUR))

lab-down: setup ## nothing of it left
	$(RUN) kafka-runbooks-lab down

PYTEST := $(RUN) pytest --durations=25

unit: setup ## every test that starts no server
	$(PYTEST) -n 2 --dist worksteal -m "not (server or lab or soak)" --hypothesis-profile=unit $(PYTEST_ARGUMENTS)

test: setup ## unit tests, those with real servers, and the lab's core
	$(PYTEST) -n 4 --dist loadscope --no-loadscope-reorder -m "not soak" $(PYTEST_ARGUMENTS)

soak: setup ## the long ones: tables of kills and hours of chaos on the lab, properties on many examples
	$(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder -m "soak or hypothesis" --hypothesis-profile=soak $(PYTEST_ARGUMENTS)

check: setup ## format, lint, types, layers
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) lint-imports

bench: setup ## how planning time and memory grow with the cluster
	$(RUN) python -m benchmarks.placement_scale

# uv comes from PyPI into a folder of its own where the system has none (Debian's Python refuses pip outside one).
setup:
	@if ! command -v $(UV) >/dev/null; then \
	  echo "installing uv into .uv"; \
	  python3 -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -qq -y python3-venv; }; \
	  python3 -m venv .uv && .uv/bin/pip install -q uv; \
	fi
	@$(UV) sync --locked --quiet
