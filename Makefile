# `make demo` and `make test` do all of their own set-up, in a virtual environment in .venv.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= test,plot
RUN = $(VENV)/bin/python
INSTALLED = $(VENV)/installed-$(EXTRAS)

# The matrices of small networks are too small to share: threads that wait for each other cost more than they bring,
# very much more on a busy machine.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint docs accuracy bench roofline clean

demo: $(INSTALLED)  ## train a small CNN on bundled images, and draw how it went
	$(RUN) -m minicnn train --dataset fashion-mnist-sample --model first_cnn --epochs 12 --out demo-output

test: $(INSTALLED)  ## run the tests
	$(RUN) -m pytest

lint: EXTRAS = test,plot,dev
lint: $(VENV)/installed-test,plot,dev  ## check style and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

docs: EXTRAS = test,plot,dev
docs: $(VENV)/installed-test,plot,dev  ## build the API reference from the docstrings into build/reference
	$(RUN) -m pdoc --docformat google --output-directory build/reference minicnn \
		minicnn.archives minicnn.backend minicnn.captured minicnn.costs minicnn.deferred minicnn.gradcheck \
		minicnn.graph minicnn.ops minicnn.photograph minicnn.serialization minicnn.summary minicnn.trained

accuracy: $(INSTALLED)  ## train the networks of the README's table on the full data sets (two seeds each)
	$(RUN) benchmarks/accuracy.py

bench: EXTRAS = test,plot,oracle
bench: $(VENV)/installed-test,plot,oracle  ## time everything against PyTorch (about an hour)
	$(RUN) benchmarks/vs_pytorch.py
	$(RUN) benchmarks/winograd.py
	$(RUN) benchmarks/overhead.py
	$(RUN) benchmarks/startup.py
	$(RUN) benchmarks/memory_limits.py

roofline: EXTRAS = test,plot,oracle
roofline: $(VENV)/installed-test,plot,oracle  ## place every kernel against the machine's arithmetic and bandwidth
	$(RUN) benchmarks/roofline.py

$(VENV)/installed-%: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch "$@"

clean:
	rm -rf $(VENV) build demo-output
