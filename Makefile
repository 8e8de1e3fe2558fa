# Two commands do everything on a fresh machine with Python, make and git: make demo, make test.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo

.PHONY: demo test lint docs bench clean

# the environment is made anew when pyproject.toml changes
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[all]'
	touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

# profile this machine, search under a budget, train, export, measure, report
demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/hwnas run --preset demo --out $(DEMO)

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# two workers, a file at a time: tests of a file share what is costly to make
test: lint
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# the documentation site, strictly: a broken link or a warning is an error
docs: $(VENV)/.installed
	$(BIN)/pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# what the project claims about itself, measured on this machine
bench: $(VENV)/.installed-test
	for name in latency/predict_speed exact_answers step_cost; do \
		$(BIN)/python benchmarks/record.py $$name.py || exit 1; done

clean:
	rm -rf $(VENV) runs
