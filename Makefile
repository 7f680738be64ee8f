# make demo   – the whole job on this machine, with a page to watch and take part in
# make test   – every test
# Browser tests need Debian's chromium (apt-get install chromium fonts-noto-cjk); without it they are skipped and say so.
PYTHON ?= python3
# processes of `make test`; some tests wait, so that one more than there are cores may be faster
WORKERS ?= 2
# what one process has compiled the next one reads, of the many that tests start
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test collected lint types imports bench prove screenshots lock clean

$(VENV)/.run: requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Koe needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing pinned packages (a minute or two the first time) ..."
	$(PIP) install --require-hashes -r requirements/run.txt
	$(PIP) install --require-hashes -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# the demo's customers write Japanese: with their words and topics its digest is whole
$(VENV)/.ja: $(VENV)/.run requirements/ja.txt
	$(PIP) install --require-hashes -r requirements/ja.txt
	@touch $@

demo: $(VENV)/.ja
	$(BIN)/koe demo $(if $(HEADLESS),--headless) $(if $(SOCKET),--socket) $(if $(PORT),--port $(PORT)) $(if $(KEEP),--keep $(KEEP))

test: $(VENV)/.dev lint imports
	@$(MAKE) --no-print-directory -j2 types collected
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# beside the types, which take one core: tests are compiled here once, not in each of the processes that run them
collected: $(VENV)/.dev
	@$(BIN)/python -m pytest --collect-only -q $(PYTEST_ARGS) | tail -n 1

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench$(if $(BENCH),.$(BENCH)) $(BENCH_ARGS)

prove: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not screenshots" --hypothesis-profile=prove --timeout=1800 $(PYTEST_ARGS)

screenshots: $(VENV)/.dev # what staff see in Slack, and the demo's page, in docs/images; needs chromium and a Japanese font
	$(BIN)/python -m pytest -m screenshots tests/whole/test_screenshots.py tests/whole/test_screenshots_demo.py

lock: # needs uv; versions and hashes only, no addresses
	for part in build run dev ja parquet; do \
	  case $$part in build) src=requirements/build.in; extra=;; run) src=pyproject.toml; extra=;; dev) src=pyproject.toml; extra="--extra dev --extra ja --extra parquet -c requirements/run.txt";; *) src=pyproject.toml; extra="--extra $$part -c requirements/run.txt";; esac; \
	  uv pip compile $$src $$extra --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links -o requirements/$$part.txt >/dev/null || exit 1; \
	done

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
