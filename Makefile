# make run   sets up and starts the server with the built-in model
# make setup only sets up; does nothing when all is in place
# make test  sets up, installs the tools of the tests as well, and passes every check
# TORCH=cpu, TORCH=default or TORCH=<the URL of an index> chooses another build of torch than tools/torch_build.py does
# make cluster starts the API and five workers with Docker Compose (deploy/README.md)
# make pictures takes the documentation's pictures of the studio anew, with Chromium
# make model makes the built-in model anew, which takes hours (tools/builtin_model/README.md)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVER := $(VENV)/.server
TOOLS := $(VENV)/.tools
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --constraint constraints.txt
# On all cores, where pip would compile one file after the other; but for the tests of packages, a seventh of their code.
# Some packages have files for other versions of Python.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests/' $(VENV)/lib || true
TORCH ?= auto

.PHONY: run cluster setup tools test lint types imports unit lock pictures model

run: setup
	@$(BIN)/python server.py --demo

cluster: deploy/.env
	docker compose --file deploy/compose.yaml up --build

# The password of Redis, made once; what else stands in there is described in deploy/README.md.
deploy/.env:
	@umask 077 && $(PYTHON) -c 'import secrets; print("REDIS_PASSWORD=" + secrets.token_hex())' > $@

setup: $(SERVER)

# Two arguments: what is installed in words, and the extras.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is %s. Name another one: make PYTHON=python3.12" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: sudo apt install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "Installing the server $(1)into $(VENV)"
	@$(BIN)/python tools/torch_build.py '$(TORCH)'
	@$(PIP) --editable '.[$(2)]'
	@$(COMPILE)
endef
COMMA := ,

$(SERVER): pyproject.toml constraints.txt
	$(call install,,cluster)
	@touch $@

tools: $(TOOLS)

# In one go where nothing is there yet.
$(TOOLS): pyproject.toml constraints.txt
	$(call install,and the tools of the tests (0.2 GB more to download$(COMMA) 0.4 GB more on the disk) ,cluster$(COMMA)dev)
	@touch $(SERVER) $@

# The types are checked while the tests run, which wait for servers much of the time.
test: tools
	@$(MAKE) --no-print-directory --jobs 2 lint types imports unit

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: tools
	$(BIN)/mypy

imports: tools
	$(BIN)/lint-imports

# Two at a time: much of the time is spent waiting for servers, and each uses one core. Their order is that of
# pytest_collection_modifyitems in tests/conftest.py.
unit: tools
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# The versions that the tests passed with; torch without the name of its build.
lock:
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed -e '/^torch==/s/\(+.*\)*$$/.*/' > constraints.txt

pictures: tools
	STUDIO_PICTURES=docs/pictures $(BIN)/python -m pytest tests/studio/test_pictures.py

model: setup
	$(PIP) --editable '.[train]'
	@$(COMPILE)
	$(BIN)/python -m tools.builtin_model all
