# The commands of this project; `make` alone lists them. Needs Python >= 3.11 and make, nothing else.
#   PYTHON=python3.12      another Python to begin with
#   TORCH_INDEX=URL        where torch comes from, for example a CUDA index
#   LAB_ARGS=...           arguments for JupyterLab, for example --no-browser
#   PYTEST_ARGS=...        arguments for pytest, for example "-k masks"
#   EXPERIMENTS=...        which experiments, for example glm; all unless given
#   VENV_PYTHON=python3    for the GPU targets: a Python that has torch with CUDA already; nothing is installed then
PYTHON ?= python3
LAB_ARGS ?=
PYTEST_ARGS ?=
EXPERIMENTS ?=
VENV_PYTHON := .venv/bin/python
GPU_SETUP := $(if $(filter .venv/bin/python,$(VENV_PYTHON)),setup)
GPU_RECORD := course_lib/classroom/results/races/gpu_race.json
HERE := PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}"
# Where Triton has wheels, its tests must not be skipped.
COURSE_TRITON ?= $(if $(filter Linux-x86_64 Linux-aarch64,$(shell uname -sm | tr " " -)),required)
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=120
NEED_PYTHON := command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "needs Python >= 3.11, found no '$(PYTHON)' on the PATH; name one: make PYTHON=..." >&2; exit 1; }

# A thread that waits sleeps: else two trainings on one machine, or a training and a browser, take each other's processor.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup setup-browser setup-triton lab test test-browser test-gpu notebooks demo picture experiments \
	bench bench-gpu race lint lock links

help:
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name words; do \
		printf 'make %-14s %s\n' "$$name" "$$words"; done

setup: ## make .venv and install the course in it
	@$(NEED_PYTHON)
	@$(PYTHON) tools/setup_env.py

setup-browser:
	@$(NEED_PYTHON)
	@$(PYTHON) tools/setup_env.py --browser

setup-triton:
	@$(NEED_PYTHON)
	@$(PYTHON) tools/setup_env.py --triton

lab: setup ## open the course in JupyterLab
	@$(VENV_PYTHON) tools/lab.py $(LAB_ARGS)

test: setup-triton ## run the unit tests, and every notebook
	COURSE_TRITON=$(COURSE_TRITON) $(VENV_PYTHON) -m pytest -n 2 --dist loadfile $(NBVAL) $(PYTEST_ARGS)

test-browser: setup-browser ## use the widgets in a real browser (needs a system Chromium)
	COURSE_BROWSER=required $(VENV_PYTHON) -m pytest tests/browser $(PYTEST_ARGS)

test-gpu: $(GPU_SETUP) ## run the tests of the GPU kernels and every notebook on a GPU (needs a CUDA build of torch)
	$(HERE) COURSE_DEVICE=cuda COURSE_DEVICES=cuda $(VENV_PYTHON) -m pytest $(NBVAL) \
		$(wildcard tests/gpu) notebooks $(PYTEST_ARGS)

notebooks: setup ## build notebooks/*.ipynb from notebooks/source/*.md
	$(VENV_PYTHON) tools/build_notebooks.py

demo: setup ## write docs/demo.html: the explorers on one page that opens from disk
	$(VENV_PYTHON) tools/build_demo.py

picture: setup-browser ## write that page, and README's picture of it (needs a system Chromium)
	$(VENV_PYTHON) tools/build_demo.py --picture

experiments: setup ## train what the lessons compare, over several seeds, and record it
	$(VENV_PYTHON) tools/experiments.py $(EXPERIMENTS)

bench: setup-browser ## measure lessons, the explorer, training, attention and make lab (see BENCHMARKS.md)
	$(VENV_PYTHON) tools/bench_lessons.py --json benchmarks/lessons.json
	$(VENV_PYTHON) tools/bench_explorer.py --json benchmarks/explorer.json
	$(VENV_PYTHON) tools/profile_step.py
	$(VENV_PYTHON) tools/bench_softmax.py --json benchmarks/softmax.json
	$(VENV_PYTHON) tools/bench_linear.py --json benchmarks/linear.json
	$(VENV_PYTHON) tools/bench_lab.py --json benchmarks/lab.json

race: setup ## record the race of the kernels that lesson 07 shows
	$(VENV_PYTHON) tools/bench_race.py

bench-gpu: $(GPU_SETUP) ## measure the GPU kernels and their peers, and record it for lesson 07 (see BENCHMARKS.md)
	$(HERE) $(VENV_PYTHON) tools/bench_gpu.py --json $(GPU_RECORD)

lint: setup ## look for mistakes and for unformatted code
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

links: setup ## write the repository's address into its links (publishers)
	$(VENV_PYTHON) tools/launch_link.py

lock: ## write requirements.lock anew (maintainers)
	@$(NEED_PYTHON)
	@$(PYTHON) tools/setup_env.py --lock
