"""The generated C against the reference, bit for bit."""

import ctypes
import dataclasses
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import consume, noise, small_graph

from codegen.blob import HEADER_BYTES, build_blob
from codegen.emit import emit_sources, model_sources
from codegen.host import HostModel, build_library, run_traced
from codegen.selftest import write_self_test
from edgekit.errors import ParityError
from edgekit.graph import run
from edgekit.graph.parity import compare_traces, require_parity
from edgekit.graph.spec import verify
from edgekit.toolchain import STRICT_FLAGS, compile_host, find_zig

HOSTILE = {
    "noise": noise(1.5),
    "silence": np.zeros(16_000, np.int16),
    "square": np.where(np.arange(16_000) // 20 % 2, 32767, -32768).astype(np.int16),
    "impulse": np.eye(1, 16_000, 8_000, dtype=np.int16)[0] * 32767,
    "offset": np.full(16_000, -32768, np.int16),
    "shortest": noise(1.5)[:448],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_layer_equals_the_reference(graph, model, name):
    pcm = HOSTILE[name]
    rows = compare_traces("c-host", graph, run(graph, {"pcm": pcm}), run_traced(model, graph, pcm))
    assert sum(row.elements for row in rows) > 1000
    require_parity(rows)


@pytest.mark.parametrize("block", [1, 7, 64, 333, 15_999])
def test_any_split_gives_the_same_result(graph, model, level, block):
    pcm = HOSTILE["noise"]
    expected = run(graph, {"pcm": pcm})["adv_out"].tolist()
    for start in range(0, pcm.size, block):
        model.push(pcm[start : start + block])
    if level == "utterance":
        assert model.read() is None
        model.finish()
    assert model.read().tolist() == expected


def test_reset_forgets_everything(graph, model, level):
    model.push(HOSTILE["square"])
    model.reset()
    assert model.read() is None
    assert (
        run_traced(model, graph, HOSTILE["noise"])["adv_out"].tolist()
        == run(graph, {"pcm": HOSTILE["noise"]})["adv_out"].tolist()
    )


def test_reading_changes_nothing(graph, model, level):
    pcm = HOSTILE["noise"]
    for start in range(0, pcm.size, 1000):
        model.push(pcm[start : start + 1000])
        model.read()
    if level == "utterance":
        model.finish()
    assert model.read().tolist() == run(graph, {"pcm": pcm})["adv_out"].tolist()


def test_what_a_result_stands_on_tells_when_it_changes(graph, model, level):
    pcm = HOSTILE["noise"]
    assert model.heard() == 0
    before, results = 0, [None]
    for start in range(0, 6400, 64):
        model.push(pcm[start : start + 64])
        found = model.read()
        same = model.heard() == before
        assert (found is None) == (model.heard() == 0)
        assert not same or (found is None and results[-1] is None) or (found == results[-1]).all()
        before = model.heard()
        results.append(found)
    assert (before > 50) == (level == "causal")
    if level == "utterance":
        assert (model.finish(), model.heard()) == (0, 1)
        model.push(pcm[:6400])
        assert (model.finish(), model.heard()) == (0, 2)
    model.reset()
    assert model.heard() == 0


def test_no_result_before_the_first_token(model):
    assert model.read() is None
    model.push(HOSTILE["noise"][:64])
    assert model.read() is None


def test_another_graphs_weights_are_refused(library, instructions, tmp_path):
    foreign = build_blob(small_graph(tmp_path, channels=6), instructions)
    model = HostModel(library, foreign)
    assert model.push(HOSTILE["noise"]) == -1
    assert model.read() is None


def test_another_targets_weights_are_refused(graph, library, instructions):
    """Same graph, other kernels: the weights lie elsewhere."""
    for other in {"portable", "dsp", "mve"} - {instructions}:
        model = HostModel(library, build_blob(graph, other))
        assert (model.push(HOSTILE["noise"]), model.read()) == (-1, None)


@pytest.mark.parametrize("at", range(0, HEADER_BYTES, 4))
def test_every_word_of_the_header_counts(graph, library, instructions, at):
    blob = bytearray(build_blob(graph, instructions))
    blob[at] ^= 1
    assert HostModel(library, bytes(blob)).push(HOSTILE["noise"]) == -1


def test_weights_that_are_not_there_or_not_aligned_are_refused(graph, model, instructions):
    blob = build_blob(graph, instructions)
    memory = (ctypes.c_uint32 * (len(blob) // 4 + 1))()
    for shift, status in ((0, 0), (1, -1), (2, -1), (3, -1)):
        ctypes.memmove(ctypes.addressof(memory) + shift, blob, len(blob))
        model.begin(ctypes.addressof(memory) + shift)
        assert model.push(HOSTILE["noise"][:100]) == status
    model.begin(None)
    assert (model.push(HOSTILE["noise"]), model.read()) == (-1, None)


def test_a_retrained_model_runs_on_the_same_code(graph, library, level, instructions, tmp_path):
    retrained = small_graph(tmp_path, bands=26, channels=5, depth=(3, 2), level=level, int4=True, seed=9)
    pcm = HOSTILE["noise"]
    found = run_traced(HostModel(library, build_blob(retrained, instructions)), retrained, pcm)
    expected = run(retrained, {"pcm": pcm})
    require_parity(compare_traces("c-host", retrained, expected, found))
    assert found["adv_out"].tolist() != run(graph, {"pcm": pcm})["adv_out"].tolist()


@pytest.mark.parametrize("shift", [0, 1, -1, -25])
def test_any_legal_clamp_and_shift(level, shift, instructions, tmp_path):
    """Scales that no calibration chooses: the kernels have a shorter way for the usual ones."""
    graph = small_graph(tmp_path, bands=26, channels=5, depth=(3, 2), level=level)
    ops = tuple(
        dataclasses.replace(op, attributes={**op.attributes, "clamp": (-100, 60)})
        if op.kind in ("conv2d", "fully_connected")
        else op
        for op in graph.ops
    )
    odd = {
        name: np.where(np.arange(values.size) % 3 == 0, shift, values).astype(np.int8)
        for name, values in graph.constants.items()
        if name.endswith("_shift") and not name.startswith("adv")
    }
    graph = dataclasses.replace(graph, ops=ops, constants={**graph.constants, **odd})
    verify(graph)
    for name, text in emit_sources(graph, 16_000, instructions).items():
        (tmp_path / name).write_text(text)
    pcm, model = noise(0.4), HostModel(build_library(tmp_path, tmp_path))
    require_parity(compare_traces("c-host", graph, run(graph, {"pcm": pcm}), run_traced(model, graph, pcm)))


def test_a_basis_without_symmetry_is_multiplied_whole(graph, level, tmp_path):
    basis = graph.constants["dft_basis"].copy()
    basis[1, 5, 9] += 1
    odd = dataclasses.replace(graph, constants={**graph.constants, "dft_basis": basis})
    files = emit_sources(odd, 16_000)
    assert ("ek_power_spectrum.c" in files, "ek_folded_spectrum.c" in files) == (True, False)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    pcm, model = noise(0.1), HostModel(build_library(tmp_path, tmp_path))
    require_parity(compare_traces("c-host", odd, run(odd, {"pcm": pcm}), run_traced(model, odd, pcm)))


def test_a_clip_too_short_is_named(graph, model):
    with pytest.raises(ParityError, match="no A/D/V"):
        run_traced(model, graph, np.zeros(10, np.int16))


def test_an_utterance_ends_with_its_window(graph, c_folder, level, tmp_path):
    if level == "causal":
        pytest.skip("causal streams have no window")
    text = (
        (c_folder / "edgekit_model.h")
        .read_text()
        .replace("#define EDGEKIT_WINDOW_FRAMES 1000", "#define EDGEKIT_WINDOW_FRAMES 200")
    )
    for path in c_folder.glob("*.[ch]"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "edgekit_model.h").write_text(text)
    model = HostModel(build_library(tmp_path, tmp_path))
    window = 64 + 199 * 32
    pcm = HOSTILE["noise"]
    for start in (0, window):
        piece = pcm[start : start + window]
        model.push(piece)
        assert model.read().tolist() == run(graph, {"pcm": piece})["adv_out"].tolist()
    assert model.finish() == 1


def test_self_test_passes_under_sanitizers_and_fails_when_wrong(graph, c_folder, tmp_path):
    write_self_test(graph, {"pcm": noise(0.2)}, c_folder)
    sources = [*model_sources(c_folder), c_folder / "edgekit_selftest.c"]
    program = compile_host(sources, tmp_path / "selftest", include=[c_folder], shared=False, sanitize=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "PASS", "")
    wrong = tmp_path / "wrong.c"
    text = sources[-1].read_text()
    wrong.write_text(text.replace("expected[3] = {", "expected[3] = {1 + "))
    program = compile_host([*sources[:-1], wrong], tmp_path / "wrong", include=[c_folder], shared=False)
    assert subprocess.run([program], check=False, stdout=subprocess.DEVNULL).returncode == 1


X86_32 = "x86-linux-musl"


@pytest.mark.parametrize("machine", [None, X86_32])
def test_self_test_passes_with_clang_on_64_and_32_bits(graph, c_folder, tmp_path, machine):
    if machine is not None and platform.machine() != "x86_64":
        pytest.skip("this machine does not run 32-bit x86")
    write_self_test(graph, {"pcm": noise(0.2)}, c_folder)
    program = tmp_path / "selftest"
    sources = [*model_sources(c_folder), c_folder / "edgekit_selftest.c"]
    target = [] if machine is None else ["-target", machine]
    command = [*find_zig(), "cc", *target, *STRICT_FLAGS, "-O2", "-o", program, *sources]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([program], check=False, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines()[-1] == "PASS"


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("bits", ["-m64", "-m32"])
def test_self_test_passes_with_the_compilers_of_this_machine(graph, c_folder, tmp_path, compiler, bits):
    probe = tmp_path / "probe.c"
    probe.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
    program = tmp_path / "selftest"
    if shutil.which(compiler) is None or _compile([compiler, bits, probe, "-o", program]) != 0:
        pytest.skip(f"{compiler} {bits} is not here")
    write_self_test(graph, {"pcm": noise(0.2)}, c_folder)
    sources = [*model_sources(c_folder), c_folder / "edgekit_selftest.c"]
    assert _compile([compiler, bits, *STRICT_FLAGS, "-O2", *sources, "-o", program]) == 0
    done = subprocess.run([program], check=False, stdout=subprocess.PIPE, text=True)
    assert done.stdout.splitlines()[-1] == "PASS"


CONSUMER = """
#include "edgekit_model.h"
static edgekit_t state;
int main()
{
    static const int16_t silence[64] = {};
    int16_t adv[3];
    edgekit_init(&state, edgekit_model_data);
    return edgekit_push(&state, silence, 64) != EDGEKIT_OK || edgekit_read(&state, adv) == EDGEKIT_BAD_MODEL;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_program_in_cpp_links_with_the_c(c_folder, tmp_path):
    consume(CONSUMER, c_folder, tmp_path)


def _compile(command):
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_the_generated_cmake_file_builds_and_checks(graph, c_folder, tmp_path):
    """With the CMake of the dev extra, or of this machine."""
    write_self_test(graph, {"pcm": noise(0.2)}, tmp_path)
    for path in c_folder.glob("e*_*.[ch]"):
        if path.name != "edgekit_selftest.c":
            (tmp_path / path.name).write_text(path.read_text())
    for command in (
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", "-G", "Unix Makefiles"],
        ["cmake", "--build", tmp_path / "build"],
        ["ctest", "--test-dir", tmp_path / "build", "--output-on-failure"],
    ):
        place = Path(sys.executable).with_name(command[0])
        done = subprocess.run([place if place.exists() else command[0], *command[1:]], capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert b"100% tests passed" in done.stdout


def test_the_generated_makefile_builds_and_checks(graph, c_folder, tmp_path):
    write_self_test(graph, {"pcm": noise(0.2)}, tmp_path)
    for path in c_folder.glob("e*_*.[ch]"):
        if path.name != "edgekit_selftest.c":
            (tmp_path / path.name).write_text(path.read_text())
    done = subprocess.run(
        ["make", "-C", tmp_path, "check", "example"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout


def test_same_graph_same_c(graph):
    assert emit_sources(graph, 16_000) == emit_sources(graph, 16_000)


def test_no_float_and_no_allocation_in_the_c(c_folder):
    for path in model_sources(c_folder):
        text = path.read_text()
        assert not any(word in text for word in ("float", "double ", "malloc", "free(")), path.name
