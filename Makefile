# Two commands: `make demo` runs the whole way on phantoms, `make test` passes the tests.
PYTHON ?= python3.11
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test check format lint types lock peers clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)" uv==0.13.8
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $(READY)

demo: setup
	$(BIN)/medsynth demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: setup lint types test

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

# torch stands outside the lock: which build is right depends on the machine.
lock:
	$(BIN)/uv pip freeze --python $(BIN)/python --exclude-editable | grep -v -e '^torch==' -e '^uv==' > $(VENV)/pins.txt
	$(BIN)/uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate $(VENV)/pins.txt -o requirements.lock

# What benchmarks set us beside, each in a folder of its own, apart from what we run on.
peers: setup
	for peer in $$(cat benchmarks/peers.txt); do \
	  folder=.peers/$$(echo $${peer%%==*} | tr - _); \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --target $$folder $$peer || exit 1; done

clean:
	rm -rf $(VENV) .peers demo
