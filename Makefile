# Every command of the project. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
INSTALLED := $(VENV)/.installed
GENERATED := clients/python/src/plinth/descriptors.binpb
PROTOS := $(shell find proto -name '*.proto')
LOCK := requirements.lock
# What is installed may have been for a folder that was moved, or for a Python that is gone or was upgraded.
INSTALLED_FOR := $(shell cat $(INSTALLED) 2>/dev/null)
RUNS := $(shell $(BIN)/python -c 'import importlib.util as u; print(all(map(u.find_spec, ("grpc", "psycopg"))))' 2>/dev/null)

# Without bytecode each of a dozen processes compiles everything anew, which takes it two to fifteen seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up test test-again coverage test-heavy drill soak bench bench-tenants bench-dictionary bench-notifications bench-growth check format lint types layers lint-proto breaking generate protos fresh \
  migration migrations lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

up: $(GENERATED) ## Bring the whole stack up; Ctrl-C ends it
	@$(BIN)/plinth up

# With DOMAIN=sites, the sweeps over the RPCs of that domain, the standard methods, and the domain's own tests.
OF_DOMAIN = $(if $(DOMAIN),--domain $(DOMAIN) tests/contract tests/standard tests/domains/$(DOMAIN))

# CI runs the tests once, and measures what they reach.
ifeq ($(if $(DOMAIN),,$(CI)),)
test: $(GENERATED) ## Run every test but the heavy ones, on the real engines; DOMAIN=sites: those of one domain
	@$(BIN)/pytest -m "not heavy" $(OF_DOMAIN)
else
test: coverage
endif

# A test that fails once in twenty times is a fault: `make test-again n=20`.
n ?= 20

test-again: $(GENERATED) ## Run `make test` n times (n=20) and show each failure with its logs; busy=1: with both cores busy
	@$(BIN)/python -m tests.again $(n) $(if $(busy),--busy)

CRITICAL = $(shell grep -v '^\#' tests/critical_paths.txt | paste -sd, -)

coverage: $(GENERATED) ## Run `make test`; fails under 90 % of server/, and when it misses a line of a critical path
	@rm -rf .plinth/coverage && mkdir -p .plinth/coverage
	@$(BIN)/coverage run -m pytest -m "not heavy" $(OF_DOMAIN)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report && whole=0 || whole=$$?; \
	  echo && echo "Critical paths (tests/critical_paths.txt):" && \
	  $(BIN)/coverage report --include='$(CRITICAL)' --fail-under=100 --show-missing && exit $$whole

test-heavy: $(GENERATED) ## Run the tests that kill processes, need a stack or a browser of their own, or work through much
	@$(BIN)/pytest -m heavy --no-loadscope-reorder --durations=20

drill: $(GENERATED) ## Run the drills: faults of engines, disks, networks and clocks, an upgrade and a rotation, under write load (also in test-heavy)
	@$(BIN)/pytest tests/drill

soak: $(GENERATED) ## Make n calls of every RPC (n=2000000) with debug hooks and core files; tell of crashes
	@$(BIN)/python -m tests.soak $(if $(filter command line,$(origin n)),--calls $(n))

bench: $(VENV)/.installed-bench $(GENERATED) ## Measure against the baselines, as ratios
	@$(BIN)/python -m tests.bench

bench-tenants: $(GENERATED) ## Measure sign-ins, lists of users and checks of permissions among 1,000,000 memberships
	@$(BIN)/python -m tests.bench.tenants

bench-dictionary: $(GENERATED) ## Measure searches in a dictionary of 200,000 entries, in one tenant among 50
	@$(BIN)/python -m tests.bench.dictionary

bench-notifications: $(GENERATED) ## Measure inboxes in a tenant of 50,000 people with 1,000,000 notifications
	@$(BIN)/python -m tests.bench.notifications

bench-growth: $(GENERATED) ## Stamp out services to 13, 50 and 100, and tell what grows how
	@$(BIN)/python -m tests.bench.growth

check: lint types layers lint-proto breaking fresh migrations ## Everything that needs no running server

format: $(INSTALLED) ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(INSTALLED)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(GENERATED)
	@$(BIN)/mypy

layers: $(GENERATED)
	@$(BIN)/lint-imports

lint-proto: $(GENERATED)
	@$(BIN)/buf lint $(GENERATED)

# What clients of the newest release rely on. A clone without tags (a shallow one) compares with the commit before.
SINCE := $(shell git describe --tags --match 'v*' --abbrev=0 2>/dev/null || echo HEAD^)

breaking: $(GENERATED)
	@test "$(SINCE)" != HEAD^ || echo "breaking: there is no tag here, so the commit before is compared with"
	@if git cat-file -e $(SINCE):proto 2>/dev/null; then \
	  mkdir -p .plinth && $(BIN)/python clients/generate.py --image-of $(SINCE) .plinth/previous.binpb && \
	  $(BIN)/buf breaking $(GENERATED) --against .plinth/previous.binpb; \
	else echo "breaking: $(SINCE) has no protos to compare with"; fi

# Alembic would not know which of two migrations comes first.
migrations: $(GENERATED)
	@$(BIN)/python -m server.run.new_migration

migration: $(GENERATED) ## Write a migration of what the tables describe and the schema lacks: name=vehicles
	@$(BIN)/python -m server.run.new_migration $(if $(name),$(name),$(error name the migration: make migration name=vehicles))
	@$(BIN)/ruff format --quiet server/data/migrations/versions

generate: $(INSTALLED) ## Build the stubs and the descriptor set anew
	@$(BIN)/python clients/generate.py

protos: $(INSTALLED) ## Write the contract with all its imports to .plinth/protos and .plinth/protos.tar.gz; to=FOLDER
	@$(BIN)/python -m clients.bundle $(to)

fresh: $(GENERATED)
	@$(BIN)/python clients/generate.py --check

lock: ## Pin the versions that a fresh resolution gives
	@rm -rf .plinth/lock-venv && $(PYTHON) -m venv .plinth/lock-venv
	@.plinth/lock-venv/bin/pip install --quiet -e clients/python -e '.[dev,bench]'
	@.plinth/lock-venv/bin/pip freeze --exclude-editable > $(LOCK)

clean: ## Remove what can be made again (not the data in .plinth)
	@find clients/python/src -mindepth 1 -maxdepth 2 ! -path '*/src/plinth' ! -path '*/plinth/client' -exec rm -rf {} +
	@rm -rf $(VENV) *.egg-info clients/python/*.egg-info .mypy_cache .ruff_cache .pytest_cache

$(GENERATED): $(INSTALLED) clients/generate.py clients/typed_clients.py $(PROTOS)
	@echo "plinth: generating the stubs from proto/"
	@$(BIN)/python clients/generate.py

ifneq ($(INSTALLED_FOR)$(RUNS),$(CURDIR)True)
.PHONY: $(INSTALLED)
endif

# Editable packages name a folder of sources that generation fills later, so it has to be there.
$(INSTALLED) $(VENV)/.installed-bench: export STUBS := later
$(INSTALLED): pyproject.toml clients/python/pyproject.toml $(LOCK)
	@echo "plinth: installing what $(LOCK) pins into $(VENV); the first time takes a minute or more"
	@mkdir -p clients/python/src/plinth
	@$(BIN)/python -c '' 2>/dev/null && { test -z "$(INSTALLED_FOR)" || test "$(INSTALLED_FOR)" = "$(CURDIR)"; } \
	  || rm -rf $(VENV)
ifneq ($(UV),)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python -c $(LOCK) -e clients/python -e '.[dev]'
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e clients/python -e '.[dev]'
endif
	@echo "$(CURDIR)" > $@

$(VENV)/.installed-bench: $(INSTALLED)
ifneq ($(UV),)
	@$(UV) pip install --quiet --python $(BIN)/python -c $(LOCK) -e clients/python -e '.[dev,bench]'
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e clients/python -e '.[dev,bench]'
endif
	@touch $@
