"""The agent under the sanitizers: a whole update, and fuzzing where libFuzzer is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit.errors import ConfigError
from edgekit.toolchain import STRICT_FLAGS, compile_host

FUZZ = Path(__file__).parents[3] / "fuzz"
CORPUS = FUZZ / "corpus"

# Runs inputs of the fuzzer one by one, for compilers without libFuzzer.
MAIN = """
#include <stdint.h>
#include <stdio.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int main(int argc, char **argv)
{
    static uint8_t data[1 << 16];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            return 2;
        }
        (void)LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
        (void)fclose(file);
    }
    return 0;
}
"""


def sources() -> list[Path]:
    return [*agent_sources(), *crypto_sources(), AGENT / "host_device.c", FUZZ / "fuzz_agent.c"]


def test_the_corpus_runs_clean(tmp_path):
    main = tmp_path / "main.c"
    main.write_text(MAIN)
    try:
        program = compile_host(
            [*sources(), main], tmp_path / "corpus", include=[AGENT, FUZZ], shared=False, sanitize=True
        )
    except ConfigError as error:
        pytest.skip(f"no sanitizers: {error}")
    inputs = sorted(map(str, CORPUS.iterdir()))
    assert len(inputs) > 70
    done = subprocess.run(
        [program, *inputs], capture_output=True, text=True, check=False, env=leaks_allowed()
    )
    assert done.returncode == 0, done.stderr


def leaks_allowed() -> dict[str, str]:
    """The one device of the fuzzer is never freed."""
    return {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


def test_a_moment_of_fuzzing(tmp_path):
    """That it builds and runs; `.ci/run` fuzzes for longer."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: no libFuzzer")
    program = tmp_path / "fuzz"
    flags = [*STRICT_FLAGS, "-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    built = subprocess.run(
        [clang, *flags, f"-I{AGENT}", f"-I{FUZZ}", *map(str, sources()), "-o", program],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0 and "libclang_rt" in built.stderr:
        pytest.skip("libFuzzer is not installed (libclang-rt)")
    assert built.returncode == 0, built.stderr
    (tmp_path / "corpus").mkdir()
    done = subprocess.run(
        [
            program,
            "-max_len=4096",
            "-timeout=10",
            "-max_total_time=3",
            "-seed=1",
            tmp_path / "corpus",
            CORPUS,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done " in done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("width", ["-m32", "-m64"])
def test_every_file_compiles_without_a_warning(tmp_path, compiler, width):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if width == "-m32":
        extra = ["-m32", "-ffreestanding", f"-I{AGENT.parent / 'board'}"]
        files = [*agent_sources(), *crypto_sources()]
    else:
        extra = ["-m64"]
        files = sorted(AGENT.glob("*.c"))
    for source in files:
        command = [compiler, *STRICT_FLAGS, "-O2", *extra, f"-I{AGENT}", "-c", source, "-o", tmp_path / "x.o"]
        subprocess.run(command, check=True, capture_output=True)
