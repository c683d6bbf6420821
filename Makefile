# The environment is made here; everything else is done by the portable entry, `python -m utils` (see: make help).
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/ready
PIPLOG := $(VENV)/pip.log
# `make run ONLY=00` runs one notebook, ONLY="00 01" two; `make run FLAGS=--fail-fast` stops at the first that fails
ONLY ?=
FLAGS ?=
OTHER_SEED ?= 1
# minutes after which no further notebook begins with the other seed; each day others come first
WITHIN ?= 12
# processes that test side by side, with one thread each; a GB or two of memory each
PROCESSES ?= 2
SETTINGS := $(VENV)/share/jupyter/lab/settings
NO_NEWS := {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 600

.PHONY: help run test check breaks lab report reference student solutions class site checkpoints constraints clean
.DEFAULT_GOAL := help

help: ## show what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## set up, run the whole course on real data, print the report
	$(RUN) -m utils run $(ONLY) $(FLAGS)

test: $(READY) $(VENV)/class-ready ## set up, then the tests: style, site, units, notebooks against stored outputs and with another seed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(MAKE) --no-print-directory site
	$(RUN) -m pytest -n $(PROCESSES) --dist worksteal
	$(RUN) -m pytest -n $(PROCESSES) --dist loadfile $(NBVAL) notebooks/*.ipynb || \
	    { test -s build/test/again.txt && echo "Again, alone: it is this that counts." && \
	      $(RUN) -m pytest $(NBVAL) $$(cat build/test/again.txt); }
	$(RUN) -m utils run --processes $(PROCESSES) --within $(WITHIN) --enforce-machine-claims \
	    --parameter SEED=$(OTHER_SEED) --output build/seed-$(OTHER_SEED)

check: $(READY) ## the quick tests: style, form, units, in about two minutes
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest -n $(PROCESSES) --dist worksteal -m "not slow" tests

breaks: $(READY) ## break every notebook on purpose: each claim must notice (make test breaks three of them a day)
	WORKBOOK_ALL_TESTS=1 $(RUN) -m pytest -n $(PROCESSES) --dist worksteal tests/notebooks/test_claims_can_fail.py

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

class: $(VENV)/class-ready ## write build/class: the course for nbgrader, with solutions and hidden cases, to grade a class
	$(RUN) -m utils class

site: $(VENV)/site-ready ## build the website in build/site/html, from the stored outputs, without a network
	$(RUN) -m utils site

checkpoints: $(READY) ## list how the networks in data/checkpoints/ were trained, and how to train one again
	$(RUN) -m utils checkpoints

constraints: ## after a change of requirements.txt: write constraints.txt and README's table of platforms
	$(RUN) -m utils platforms --pin

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -I utils/course/check_before_install.py
	@echo "Setting up $(VENV) with $$($(PYTHON) --version): about 8 GB, five minutes. pip writes to $(PIPLOG)."
	@test "$$($(RUN) --version 2>&1)" = "$$($(PYTHON) --version)" || rm -rf $(VENV) # venv would keep the other Python
	@rm -f $@ && mkdir -p $(VENV)
	@{ $(PYTHON) -m venv $(VENV) && $(RUN) -m pip install --disable-pip-version-check --no-input --progress-bar off \
	    -r requirements.txt -c constraints.txt -e .; } > $(PIPLOG) 2>&1 || { tail -n 20 $(PIPLOG); \
	    echo "The set-up failed. The whole log is $(PIPLOG); the same command tries again."; exit 1; } >&2
	@touch $@

$(VENV)/site-ready: requirements-site.txt $(READY)
	@$(RUN) -m pip install --disable-pip-version-check --no-input --progress-bar off -q \
	    -r requirements-site.txt -c constraints.txt >> $(PIPLOG) 2>&1 || { tail -n 20 $(PIPLOG); exit 1; } >&2
	@touch $@

$(VENV)/class-ready: requirements-class.txt $(READY)
	@$(RUN) -m pip install --disable-pip-version-check --no-input --progress-bar off -q \
	    -r requirements-class.txt -c constraints.txt >> $(PIPLOG) 2>&1 || { tail -n 20 $(PIPLOG); exit 1; } >&2
	@touch $@
