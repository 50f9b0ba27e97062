# `make demo` and `make test` are all a newcomer needs; both make what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
# Most of what is installed is never imported, so it is not compiled ahead.
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install --no-compile
# Many tests start processes, and each would compile again all that it imports.
unexport PYTHONDONTWRITEBYTECODE
DEMO := examples/chelsea.jpg --box 133,82,210,152 --box 296,106,346,165 --box 232,226,292,268

.PHONY: demo test test-full browser redis bench train-nano lint format docs package clean

demo: .venv/installed
	$(BIN)/promptseg segment $(DEMO) --format overlay --format coco -o out
	@echo "overlay PNG: $(CURDIR)/out/chelsea.overlay.png"
	@echo "COCO JSON:   $(CURDIR)/out/coco.json"

# Several at a time, as most of them use one core, or wait.
test: lint browser redis
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal --cov --cov-report=

test-full: .venv/developing
	$(BIN)/pytest -m full

# The annotator's page is tested in Chromium, and jobs on many machines by a Redis of their own;
# where one is missing and cannot be installed, its tests are skipped.
browser:
	@$(call get,chromium,chromium chromium-browser google-chrome)

redis:
	@$(call get,redis-server,redis-server)

# Install a package of Debian, unless one of the programs is there.
define get
for name in $(2); do \
	command -v "$$name" > /dev/null && exit; \
done; \
if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	apt-get -qq update > /dev/null 2>&1; \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(1) \
		> /dev/null 2>&1 && exit; \
fi; \
echo "there is no $(1), and none was installed: the tests that need it are skipped"
endef

bench: .venv/developing
	$(BIN)/promptseg bench
	$(BIN)/promptseg bench --suite sam2
	$(BIN)/promptseg bench --suite everything
	$(BIN)/promptseg bench --suite sam3
	$(BIN)/promptseg bench --suite server
	$(BIN)/promptseg bench --suite bulk

# The weights that tests/nano asks; some 45 minutes on two cores, and goes on where it was stopped.
train-nano: .venv/developing
	$(BIN)/python dev/train_nano.py out/nano.state --out tests/nano/nano.safetensors

lint: .venv/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/developing
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/developing
	$(BIN)/python dev/make_help.py

package: .venv/developing
	sh dev/check_wheel.sh $(BIN)/python

clean:
	rm -rf .venv out dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) --constraint constraints.txt --editable .
	@touch $@

.venv/developing: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/installed
