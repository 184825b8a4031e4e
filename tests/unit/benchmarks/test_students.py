"""What the table of students counts, against sums by hand; and how it looks."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from benchmarks.students import agreement, bars
from benchmarks.students.agreement import EMODB, NOISY, NOISY_HEARD, RAVDESS
from benchmarks.students.bars import CAUSAL, HOP_128, UTTERANCE
from benchmarks.students.cost import SAMPLES, Run, macs, run_onnx, tokens_per_s
from benchmarks.students.report import SETS, Row, markdown
from benchmarks.tables import ccc_cell
from distill.config import DistillConfig
from distill.export import student_onnx
from distill.registry import create_student

BANDS, CHANNELS = 26, 13


def made(hop: int):
    return create_student("wav2small", DistillConfig(hop=hop, level="utterance").front_end).eval()


def by_hand(hop: int, n_fft: int) -> int:
    """Every layer of the paper's table; convolutions at the padded end run, and are cut off at the end."""
    frames = (SAMPLES - n_fft) // hop + 1
    windows = (frames + 1) // 2
    bins = n_fft // 2 + 1
    tokens = (frames - 3) // 2 - 4
    per_frame = 2 * bins * n_fft + bins * BANDS + 9 * BANDS * (CHANNELS + 2 * CHANNELS**2)
    per_window = 4 * 9 * CHANNELS**2 * (BANDS // 2)
    per_token = CHANNELS**2 * (BANDS // 2) + 2 * 169**2
    return frames * per_frame + windows * per_window + tokens * per_token + 169 * 3


@pytest.mark.parametrize(("hop", "n_fft"), [(32, 64), (64, 64), (128, 128)])
def test_multiply_accumulates_are_those_of_the_layers(hop, n_fft):
    assert macs(made(hop)) == by_hand(hop, n_fft)


def test_larger_hops_need_a_half_and_a_quarter():
    whole = macs(made(32))
    assert whole == pytest.approx(0.391e9, rel=0.002), "the paper's size"
    assert macs(made(64)) / whole == pytest.approx(1 / 2, rel=0.001)
    assert macs(made(128)) / whole == pytest.approx(1 / 4, rel=0.09), "with a window twice as long"
    assert [tokens_per_s(made(hop)) for hop in (32, 64, 128)] == [250, 125, 62.5]


def test_a_model_is_run_in_a_process_of_its_own(tmp_path):
    student = made(128)
    file = tmp_path / "student.onnx"
    file.write_bytes(student_onnx(student).SerializeToString())
    run = run_onnx(file, (1, student.front_end.frame_count(SAMPLES), BANDS))
    assert run.size_bytes == file.stat().st_size
    assert 0.1 < run.cpu_ms < 1000
    assert run.peak_bytes > run.size_bytes


def test_the_page_has_a_line_for_every_student():
    ccc = {name: {"compact": {"arousal": 0.9, "dominance": -0.1, "valence": 0.5}} for name in SETS}
    run = Run(275_683, 11.62, 18_305_024)
    rows = [
        Row("one", True, 72_659, 67_577, 390_611_127, 250.0, run, run, run, ccc),
        Row("two", False, 3_114_173, 3_109_091, 433_201_486, 15.625, run, run, run, {}),
    ]
    page = markdown(rows, "a processor")
    assert "| one | 72,659 (67,577) | 391 M | 250 | 275.7 | 275.7 | 275.7 | 11.6 |" in page
    assert "| two | 3,114,173 (3,109,091) | 433 M | 15.625 | 275.7 | 275.7 | 275.7 | 11.6 |" in page
    assert "| one | .900 / -.100 / .500 |" in page
    assert "Not trained for this run, so not compared: two." in page


def test_in_noise_the_labels_are_those_of_the_clean_clips(monkeypatch):
    """A teacher that hears the opposite in noise: a student that hears as before is right, but for those."""
    clean = np.random.default_rng(0).random((8, 3)).astype(np.float32)

    class Sets(agreement.TestSets):
        clips = MappingProxyType({EMODB: [], NOISY: [], RAVDESS: []})

        def labels(self, name, teacher):
            return 1 - clean if name == NOISY else clean

    monkeypatch.setattr(agreement, "predict", lambda student, features: clean)
    found = Sets(Path(), {"compact": "compact"}, Path()).agreement(made(128))
    signs = {name: {ccc > 0 for ccc in of["compact"].values()} for name, of in found.items()}
    assert signs == {EMODB: {True}, NOISY: {True}, RAVDESS: {True}, NOISY_HEARD: {False}}


def test_agreement_is_written_without_zeros_before_the_point():
    cell = ccc_cell({"arousal": 1.0, "dominance": 0.1234, "valence": -0.5})
    assert cell == "1.000 / .123 / -.500"


def test_a_bar_that_is_missed_is_bold():
    def agreeing(arousal, noisy):
        ccc = {"arousal": arousal, "dominance": 0.82, "valence": 0.7}
        return {name: {"compact": ccc | ({"arousal": noisy} if "babble" in name else {})} for name in SETS}

    found = {CAUSAL: agreeing(0.875, 0.8), UTTERANCE: agreeing(0.9, 0.8), HOP_128: agreeing(0.83, 0.76)}
    lines = [line for line in bars.section(found) if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1:] for row in cells[2:]] == [
        ["**0.875** / 0.820 / 0.700", "0.900 / 0.820 / 0.700", "**0.830** / 0.820 / 0.700"],
        ["0.875 / 0.820 / 0.700", "0.900 / 0.820 / 0.700", "0.830 / 0.820 / 0.700"],
        ["0.075", "**0.100**", "0.070"],
        ["0.075", "**0.100**", "0.070"],
        ["**0.025** / 0.000 / 0.000", "", ""],
        ["", "", "**0.045** / 0.000 / 0.000"],
    ]
    assert bars.section({CAUSAL: found[CAUSAL]}) == []
