# The two commands: make book, make test. The README lists all of them, and the same without make.

PYTHON ?= python3
BIN := .venv/bin
LAB := .venv-lab/bin
NEWEST := .venv-newest/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# CI=1: progress bars do not belong into committed outputs.
RUN_LABS := CI=1 TOKENIZERS_PARALLELISM=false
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg --nbval-cell-timeout=600
LABS := $(wildcard labs/*.ipynb)

.PHONY: book test lab labs evidence models tables test-newest clean
.DEFAULT_GOAL := book

# Stamps: set-up runs again only when what it reads has changed.
.venv/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.10 to 3.13 is needed; name one: make PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[book,test]"
	@touch $@

.venv-lab/stamp: .venv/stamp
	test -x $(LAB)/python || $(PYTHON) -m venv .venv-lab
	grep '^lab = ' pyproject.toml | grep -o '"[^"]*"' | xargs $(LAB)/pip install --quiet -c constraints.txt
	$(BIN)/python -m ipykernel install --prefix .venv-lab --name python3 --display-name "Fine-Tuning, Measured"
	@touch $@

book: .venv/stamp
	$(BIN)/jupyter-book build --all -W --keep-going -n .
	@echo "The book is in $(CURDIR)/_build/html/index.html"

# Two files at a time, each on one core: sooner done than one after the other on both.
test: export OMP_NUM_THREADS = 1
test: .venv/stamp
	$(RUN_LABS) $(BIN)/python -m pytest -n 2 --dist loadfile $(NBVAL) tests $(LABS)

lab: .venv-lab/stamp
	$(LAB)/jupyter lab labs

labs: .venv/stamp
	$(RUN_LABS) $(BIN)/python labs/execute.py $(LABS)

evidence: .venv/stamp
	$(BIN)/finetunelab evidence run --out book/evidence/nano.json
	$(BIN)/finetunelab evidence check book/evidence/nano.json

# Without these two, glibc hands the memory of every step back to the system and asks for it again: a part of the time goes there,
# in pretraining the half.
test labs models: export MALLOC_MMAP_MAX_ = 0
test labs models: export MALLOC_TRIM_THRESHOLD_ = 17179869184
models: .venv/stamp
	$(BIN)/finetunelab base build --size base --out runs/models
	$(BIN)/finetunelab base build --size small --out runs/models
	$(BIN)/finetunelab base build --size sft --out runs/models
	$(BIN)/finetunelab base build --size chat --out runs/models
	$(BIN)/finetunelab base build --size reward --out runs/models
	$(BIN)/finetunelab base build --size panel --out runs/models
	$(BIN)/finetunelab base build --size embedder --out runs/models
	$(BIN)/finetunelab base build --size reader --out runs/models

# Needs the real corpora; see CONTRIBUTING.md.
tables: .venv/stamp
	$(BIN)/python book/build_tables.py

# Made anew each time: what is newest today is the question. TORCH=torch takes the newest of that too, which may be several gigabytes.
test-newest: TORCH ?= $(shell grep '^torch==' constraints.txt)
test-newest:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	$(NEWEST)/pip install --quiet "$(TORCH)"
	$(NEWEST)/pip install --quiet -e ".[book,test]"
	$(NEWEST)/pip list
	CI=1 $(NEWEST)/python -m pytest -m "not slow"

clean:
	rm -rf _build build src/*.egg-info .pytest_cache .ruff_cache
