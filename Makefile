# The environment is made here; everything else is done by the portable entry, `python -m utils` (see: make help).
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/ready
# `make run ONLY=00` runs one notebook, ONLY="00 01" two; `make run FLAGS=--fail-fast` stops at the first that fails
ONLY ?=
FLAGS ?=
OTHER_SEED ?= 1
# processes that test side by side, with one thread each; a GB or two of memory each
PROCESSES ?= 2
SETTINGS := $(VENV)/share/jupyter/lab/settings
NO_NEWS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 600

.PHONY: help run test check lab report reference student solutions checkpoints constraints clean
.DEFAULT_GOAL := help

help: ## show what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## set up, run the whole course on real data, print the report
	$(RUN) -m utils run $(ONLY) $(FLAGS)

test: $(READY) ## set up, then every test: style, units, notebooks against stored outputs, notebooks with another seed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest -n $(PROCESSES) --dist worksteal
	$(RUN) -m pytest -n $(PROCESSES) --dist loadfile $(NBVAL) notebooks/*.ipynb || \
	    { test -s build/test/again.txt && echo "Again, alone: it is this that counts." && \
	      $(RUN) -m pytest $(NBVAL) $$(cat build/test/again.txt); }
	$(RUN) -m utils run --enforce-machine-claims --parameter SEED=$(OTHER_SEED) --output build/seed-$(OTHER_SEED)

check: $(READY) ## the quick tests: style, form, units, in about two minutes
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest -n $(PROCESSES) --dist worksteal -m "not slow" tests

lab: $(READY) ## open JupyterLab in the browser, on this machine only
	@mkdir -p $(SETTINGS) && echo '$(NO_NEWS)' > $(SETTINGS)/overrides.json
	$(VENV)/bin/jupyter lab --ip=127.0.0.1 --allow-root \
	    --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

report: $(READY) ## print the report of the last run again
	$(RUN) -m utils report

reference: $(READY) ## make the last `make run` the reference run of this class of machine, and write README's table
	$(RUN) -m utils reference

student: $(READY) ## write build/student: the course to hand out, blank exercises, no outputs, no solutions
	$(RUN) -m utils student

solutions: $(READY) ## write build/solutions: the course with its exercises solved
	$(RUN) -m utils solutions

checkpoints: $(READY) ## list how the networks in data/checkpoints/ were trained, and how to train one again
	$(RUN) -m utils checkpoints

constraints: $(READY) ## write constraints.txt from what is installed, after a change of requirements.txt
	$(RUN) -m pip freeze --exclude-editable > constraints.txt

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Python 3.11 to 3.13 is needed, this is %d.%d; try: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt -e .
	@touch $@
