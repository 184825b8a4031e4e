# Needs python3.11, make and a C compiler, and qemu-system-arm for Cortex-M55 targets; everything else comes from pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGES := edgekit wavllm_teacher distill quantize codegen firmware_sim

# The test processes share the cores: more threads than that inside each one only get in the way.
TEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

.PHONY: demo test test-slow lint fuzz clean

# Exit code 4 is a complete build whose report says which budget is exceeded: the demo shows the verdict.
demo: $(INSTALLED)
	@$(BIN)/edgekit build --target hearing-aid || { code=$$?; [ $$code -eq 4 ] || exit $$code; \
	echo "demo: the build is complete; the report above shows the budgets it exceeds" >&2; }

test: lint
	$(TEST) --cov=edgekit --cov-report=
	$(BIN)/coverage report --include="edgekit/graph/*" --fail-under=100 --show-missing

test-slow: $(INSTALLED)
	$(TEST) -m slow

# Needs clang with libFuzzer (Debian: clang libclang-rt-14-dev). What it finds new stays in build/fuzz/corpus.
FUZZ_SECONDS ?= 60
fuzz:
	mkdir -p build/fuzz/corpus
	clang -std=c99 -Wall -Wextra -Werror -g -O2 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	-Icodegen/agent -Itests/fuzz codegen/agent/ag_*.c codegen/agent/host_device.c tests/fuzz/fuzz_agent.c -o build/fuzz/agent
	build/fuzz/agent -verbosity=0 -print_final_stats=1 -max_len=4096 -timeout=10 -max_total_time=$(FUZZ_SECONDS) \
	-artifact_prefix=build/fuzz/ build/fuzz/corpus tests/fuzz/corpus

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(INSTALLED): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt hatchling editables wheel
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[sim,dev,cluster,wavllm]"
	touch $@

clean:
	rm -rf build dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
