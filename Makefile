# One command for each habit. Each does the set-up it needs, once; CI calls the same ones.

export PYTHON # the interpreter for .venv; packaging/setup-dev.sh has the default

BIN := .venv/bin
# Some tools call others by their names: cython-lint calls pycodestyle.
export PATH := $(CURDIR)/$(BIN):$(PATH)

NEEDED := .venv/.set-up-run
NEEDED_BY_TESTS := .venv/.set-up-test

STUBS = $(wildcard engines/*.pyi engines/io/*.pyi)
TYPED_LENIENTLY = tests/conftest.py $(sort $(dir $(wildcard tests/*/*.py benchmarks/*.py)))
RULES = $(wildcard grafana/rules/*.yml)
RULE_TESTS = $(wildcard grafana/rules/tests/*.yml)
REMOVE_COMPILED = find engines/ -name '*.so' -delete; rm -f $(patsubst %.pyx,%.c,$(wildcard engines/*.pyx engines/io/*.pyx))
SCRIPTS = .ci/run $(wildcard packaging/*.sh)

.DEFAULT_GOAL := help
.PHONY: help run test check lint types stubs arrows rules boards build bench clean distclean

help:
	@echo 'make run     run an agent here: a probe file in .iovigil, metrics on http://127.0.0.1:9942/metrics'
	@echo 'make test    build, then run every test this machine can run; the others are skipped by name'
	@echo 'make check   lint, types, stubs (against the compiled modules), arrows (of imports), rules (of Prometheus),'
	@echo '             boards (of Grafana: whether they are what their generator writes)'
	@echo 'make build   compile what changed'
	@echo 'make bench   run beside fio, in alternation, and print the ratios'
	@echo 'make clean   remove what was built; make distclean: also .venv and the probe file in .iovigil'
	@echo
	@echo 'make PYTHON=/path/to/python3 ... names the interpreter that .venv is made of.'

run: build
	$(BIN)/iovigil agent --embedded --state-directory .iovigil

test: build $(NEEDED_BY_TESTS)
	$(BIN)/pytest $(PYTEST_ARGS)

check: lint types stubs arrows rules boards

lint: $(NEEDED_BY_TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint engines
	shellcheck $(SCRIPTS)

# The directories of tests are not packages, or pytest would make `import agent` work: mypy takes one at a time.
types: build $(NEEDED_BY_TESTS)
	$(BIN)/mypy
	for tests in $(TYPED_LENIENTLY); do \
		$(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls $$tests || exit 1; \
	done

stubs: build $(NEEDED_BY_TESTS)
	$(BIN)/stubtest --allowlist tests/stubtest-allowlist.txt $(subst /,.,$(STUBS:%.pyi=iovigil.%))

arrows: $(NEEDED_BY_TESTS)
	$(BIN)/lint-imports

rules: $(NEEDED_BY_TESTS)
	$(if $(RULES),promtool check rules $(RULES))
	$(if $(RULE_TESTS),promtool test rules $(RULE_TESTS))

boards: $(NEEDED_BY_TESTS)
	$(BIN)/python grafana/dashboards/build.py --check

build: $(NEEDED) build/.setup-py-seen
	@echo '==> compiled modules'
	@$(BIN)/python setup.py build_ext --inplace >build/compile.log 2>&1 || { cat build/compile.log; exit 1; }

# A stale extension is silent. Cython sees changed sources but no changed directives: then nothing compiled may stay.
build/.setup-py-seen: setup.py
	@$(REMOVE_COMPILED)
	@mkdir -p build && touch $@

bench: build
	$(BIN)/python benchmarks/engines_vs_fio.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/loop_vs_fio.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/verify_vs_fio.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/jobs_vs_fio.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/spawn_vs_fio.py

clean:
	rm -rf build dist src/*.egg-info
	$(REMOVE_COMPILED)

distclean: clean
	rm -rf .venv .iovigil .mypy_cache .pytest_cache .ruff_cache

$(NEEDED) $(NEEDED_BY_TESTS): .venv/.set-up-%: pyproject.toml packaging/setup-dev.sh | build/.setup-py-seen
	@packaging/setup-dev.sh $*
	@touch $@

$(NEEDED_BY_TESTS): $(NEEDED)
