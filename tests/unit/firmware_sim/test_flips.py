"""Bits that are inverted: what is asked for, what it changes, and what cannot be done."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import needs_qemu, target_of
from unit.firmware_sim.builds import build_folder

from codegen.toolchain import compile_firmware
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.cli.app import main
from edgekit.errors import ConfigError, SimulationError
from edgekit.target import Target
from firmware_sim.flips import Flip, read_flips
from firmware_sim.program import Program, read_program
from firmware_sim.simulator import profile

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
FAKE = Path(__file__).parent / "fake_engine"
SUM_BYTE = 8
"""Of the fake engine's state: the sum of the samples so far."""


@pytest.fixture(scope="module")
def program(fake_firmware: Path) -> Program:
    return read_program(fake_firmware)


def adv_with(elf: Path, target: Target, *texts: str) -> tuple[int, int, int] | None:
    flips = read_flips(texts, read_program(elf), target, len(PCM), 0)
    return profile(elf, target, PCM, flips=flips).result.adv


def test_a_flip_of_a_weight_changes_what_it_multiplies(fake_firmware: Path, target: Target) -> None:
    total = int(PCM.astype(int).sum())
    # Its first weight, 1, becomes 3.
    assert adv_with(fake_firmware, target, "weights:0.1") == (int(3 * total / 1000), PCM.min(), PCM.max())


@pytest.mark.parametrize("sample", [0, 512, 700, 999])
def test_a_flip_of_the_state_happens_before_its_sample(
    sample: int, fake_firmware: Path, target: Target
) -> None:
    heard = sample // 64 * 64
    before = int(PCM[:heard].astype(int).sum())
    expected = int(((before ^ 1 << 13) + int(PCM[heard:].astype(int).sum())) / 1000)
    adv = adv_with(fake_firmware, target, f"state:{SUM_BYTE + 1}.5@{sample}")
    assert adv == (expected, PCM.min(), PCM.max())


def test_without_a_sample_the_state_is_flipped_at_the_start(fake_firmware: Path, target: Target) -> None:
    at_0 = adv_with(fake_firmware, target, f"state:{SUM_BYTE}.7@0")
    assert adv_with(fake_firmware, target, f"state:{SUM_BYTE}.7") == at_0


def test_a_pointer_that_is_flipped_faults(fake_firmware: Path, target: Target) -> None:
    with pytest.raises(SimulationError, match=r"bad pointer: read of .*, in edgekit_layer_mean at "):
        adv_with(fake_firmware, target, "state:3.6@100")


def test_random_flips_depend_on_the_seed_alone(program: Program, target: Target) -> None:
    def chosen(seed: int) -> tuple[Flip, ...]:
        return read_flips(["weights:random*20", "state:random*2@5"], program, target, 1000, seed)

    first = chosen(1)
    assert first == chosen(1)
    assert first != chosen(2)
    assert len(set(first)) == 22
    assert [flip.sample for flip in first] == [None] * 20 + [5, 5]
    assert all(0 <= flip.byte < 16 and 0 <= flip.bit < 8 for flip in first[:20])
    every = read_flips(["weights:random*128"], program, target, 1000, 0)
    assert len({(flip.byte, flip.bit) for flip in every}) == 128


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("weights:16.0", "outside of the weights", "bytes 0 to 15 and bits 0 to 7"),
        ("weights:0.8", "outside of the weights", "bits 0 to 7"),
        ("state:40.0", "outside of the state", "bytes 0 to 39"),
        ("state:0.0@1000", "outside of the audio", "0 to 999"),
        ("weights:0.0@1", "before the start", "leave out"),
        ("weights:random*0", "0 bits", "1 to 128"),
        ("weights:random*129", "129 bits", "1 to 128"),
        ("flash:0.0", "there is no flash", "weights, state"),
        ("weights:0", "cannot be read", "weights:BYTE.BIT"),
        ("weights:\u0661.0", "cannot be read", "weights:BYTE.BIT"),
        ("weights:0.\u0967", "cannot be read", "weights:BYTE.BIT"),
        (f"weights:{'9' * 5000}.0", "cannot be read", "weights:BYTE.BIT"),
        ("weights:-1.0", "cannot be read", "weights:BYTE.BIT"),
        ("", "cannot be read", "weights:BYTE.BIT"),
    ],
)
def test_what_cannot_be_flipped_is_an_error(
    text: str, what: str, hint: str, program: Program, target: Target
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_flips([text], program, target, 1000, 0)
    assert caught.value.what.startswith(f"--flip {text}: ")
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "texts",
    [
        ("weights:0.1", "weights:0.1"),
        ("weights:0.1", "weights:00.01"),
        ("state:1.2", "state:1.2@0"),
        ("weights:random*128", "weights:3.7"),
        ("weights:3.7", "weights:random*128"),
    ],
)
def test_a_bit_that_is_given_twice_is_an_error(
    texts: tuple[str, ...], program: Program, target: Target
) -> None:
    with pytest.raises(ConfigError, match=r"--flip .* is given twice, also by ") as caught:
        read_flips(texts, program, target, 1000, 0)
    assert caught.value.exit_code == 2


def test_a_bit_can_be_flipped_back(fake_firmware: Path, program: Program, target: Target) -> None:
    assert len(read_flips(["state:1.2@5", "state:1.2@6"], program, target, 1000, 0)) == 2
    there_and_back = adv_with(fake_firmware, target, f"state:{SUM_BYTE}.7@65", f"state:{SUM_BYTE}.7@66")
    assert there_and_back[0] == int(int(PCM.astype(int).sum()) / 1000)


@needs_qemu
def test_qemu_flips_weights_and_refuses_the_state(tmp_path: Path) -> None:
    m55 = target_of("cortex-m55")
    elf = compile_firmware([FAKE / "edgekit_model.c"], [FAKE], m55, tmp_path / "firmware.elf")
    assert adv_with(elf, m55, "weights:0.1")[0] == int(3 * int(PCM.astype(int).sum()) / 1000)
    with pytest.raises(ConfigError, match="runs in QEMU, where the state cannot be flipped"):
        adv_with(elf, m55, "state:0.0")


@pytest.fixture
def simulated(
    fake_firmware: Path, target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    import soundfile

    audio = tmp_path / "audio.wav"
    soundfile.write(audio, PCM, SAMPLE_RATE_HZ)
    build = build_folder(tmp_path / "build", fake_firmware, target)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["simulate", str(build), "--audio", str(audio), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_command_shows_both_results_and_the_difference(simulated) -> None:
    code, out, _ = simulated("--flip", "weights:0.1", "--json")
    flips = json.loads(out)["flips"]
    mean = int(PCM.astype(int).sum() / 1000)
    changed = int(3 * int(PCM.astype(int).sum()) / 1000)
    assert code == 0
    assert flips["without"]["arousal_q14"] == mean
    assert flips["with"]["arousal_q14"] == changed
    assert flips["difference"]["arousal_q14"] == changed - mean
    assert flips["difference"]["arousal"] == (changed - mean) / 16384
    assert flips["difference"]["valence_q14"] == 0
    assert (flips["fault"], flips["exit_code"]) == (None, 0)
    assert flips["flipped"][0]["place"] == "weights"
    code, out, _ = simulated("--flip", "weights:random*20", "--seed", "3")
    assert code == 0
    assert "and 10 more" in out
    assert "difference" in out


def test_a_fault_under_flips_is_a_result_too(simulated) -> None:
    code, out, err = simulated("--flip", "state:3.6@100", "--json")
    flips = json.loads(out)["flips"]
    assert code == 8
    assert flips["without"]["arousal_q14"] == int(PCM.astype(int).sum() / 1000)
    assert flips["with"] is None
    assert "edgekit_layer_mean" in flips["fault"]["what"]
    assert "call stack:" in flips["fault"]["details"]
    assert err.startswith("error: with the bits flipped: bad pointer: ")
    code, out, _ = simulated("--flip", "state:3.6@100")
    assert code == 8
    assert "with them: bad pointer" in out


def test_the_command_shows_functions_always_and_lines_on_request(simulated) -> None:
    _, out, _ = simulated("--json")
    shown = json.loads(out)
    assert "lines" not in shown
    assert sum(row["cycles"] for row in shown["functions"]) == shown["cycles"]
    assert sum(row["instructions"] for row in shown["functions"]) == shown["instructions"]
    _, out, _ = simulated("--lines", "3", "--json")
    lines = json.loads(out)["lines"]
    assert len(lines) == 3
    assert any(row["name"].startswith("edgekit_model.c:") for row in lines)
    _, out, _ = simulated("--lines")
    assert "edgekit_layer_mean" in out
    assert " in edgekit_layer_range" in out


def test_a_wrong_flip_ends_the_command_before_anything_runs(simulated) -> None:
    code, out, err = simulated("--flip", "weights:16.0")
    assert (code, out) == (2, "")
    assert "bytes 0 to 15" in err
