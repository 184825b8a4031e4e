"""The stage: what it writes, that it resumes to the bit, and what it says when it cannot work."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import soundfile
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from distill import registry, trainer
from distill.agreement import Agreement, measure
from distill.clips import load_splits
from distill.config import DistillConfig, recommended_config
from distill.crops import Drawing, balanced, crop_samples, draw
from distill.curves import LOSS_NAMES
from distill.export import student_onnx
from distill.loss import LOSSES
from distill.pool import make_pool
from distill.trainer import centre_outputs, initial_student, learning_rate
from distill.training import Relabel, distill, identity, load_student
from edgekit import artifact
from edgekit.errors import ArtifactError, AudioError, ConfigError
from edgekit.labels import COLUMNS, LABELS_FILE, STAGE, audio_sha256, read_labels, write_audio_root
from edgekit.metrics import DIMENSIONS
from edgekit.progress import silent

SCRATCH = DistillConfig(
    steps=6, batch=6, pool=48, crop_s=0.12, learning_rate=5e-3, evaluate_every=2, warm_start=False, threads=1
)
FILES = {"student.safetensors", "student.onnx", "frontend.json", "metrics.json", "history.csv", "history.svg"}


def write_labels(folder: Path, splits: list[str], *, constant: bool = False) -> Path:
    """Write a label artifact over noise whose colour is its emotion."""
    rng = np.random.default_rng(0)
    audio = folder / "audio"
    audio.mkdir()
    columns = {name: [] for name in COLUMNS}
    for index, split in enumerate(splits):
        strength = 0.5 if constant else float(rng.random())
        noise = rng.standard_normal(3200)
        samples = (0.1 * noise + strength * np.convolve(noise, np.ones(8) / 8, "same")).astype(np.float32)
        soundfile.write(audio / f"{index}.flac", samples, 16000)
        stored, _ = soundfile.read(audio / f"{index}.flac", dtype="float32")
        row = (f"{index}.flac", 0.0, 0.2, strength, 1 - strength, 0.5, "noise", split, audio_sha256(stored))
        for name, value in zip(COLUMNS, row, strict=True):
            columns[name].append(value)
    with artifact.writing(folder / "labels", STAGE, {}, {}) as work:
        parquet.write_table(pyarrow.table(columns), work / LABELS_FILE)
    write_audio_root(folder / "labels", audio)
    return folder / "labels"


@pytest.fixture
def labels(tmp_path):
    return write_labels(tmp_path, ["train"] * 8 + ["dev"] * 4 + ["test"] * 4)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A trained student that ships, in place of the real one."""
    folder = tmp_path / "students" / "wav2small-causal"
    folder.mkdir(parents=True)
    student = initial_student(SCRATCH)
    centre_outputs(student, np.full((1, 3), 0.5, np.float32))
    (folder / "student.safetensors").write_bytes(_safetensors(student))
    artifact.write_json(folder / "frontend.json", SCRATCH.front_end.to_dict())
    monkeypatch.setattr(registry, "SHIPPED", folder.parent)
    return folder


def _safetensors(student) -> bytes:
    from safetensors.torch import save

    return save(student.state_dict())


def training_steps(steps: list[int]):
    return lambda what, done, total: steps.append(done) if what == "training" else None


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_writes_a_whole_artifact(labels, tmp_path):
    found = distill(SCRATCH, labels, tmp_path / "student", silent)
    assert set(found.manifest.files) == FILES
    inputs, params = identity(SCRATCH, artifact.read(labels, "label").digest)
    assert artifact.is_current(tmp_path / "student", "distill", inputs, params)
    metrics = json.loads(found.file("metrics.json").read_text())
    assert metrics["parameters"] == 72_659
    assert metrics["clips"] == {"train": 8, "dev": 4, "test": 4}
    assert metrics["measured_on"] == "test"
    assert metrics["teachers"] == ["noise"]
    assert -1 <= metrics["student_vs_teacher"]["arousal"] <= 1
    assert metrics["student_vs_teacher"]["valence"] is None
    assert metrics["undefined"] == {"valence": "the teacher gave every clip the same value"}
    history = found.file("history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["step", "0", "2", "4", "6"]


def test_files_hold_one_student(labels, tmp_path):
    found = distill(SCRATCH, labels, tmp_path / "student", silent)
    student = load_student(found.path, "wav2small").eval()
    assert (
        student_onnx(student).SerializeToString(deterministic=True) == found.file("student.onnx").read_bytes()
    )


@pytest.mark.parametrize(("stop", "optimizer"), [(1, "adamw"), (3, "adamw"), (3, "muon"), (4, "muon")])
def test_interrupted_training_continues_to_the_bit(labels, tmp_path, stop, optimizer, monkeypatch):
    config = replace(SCRATCH, optimizer=optimizer)
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    distill(config, labels, tmp_path / "whole", silent)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "training" and done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(config, labels, tmp_path / "parts", interrupt)
    steps = []
    distill(config, labels, tmp_path / "parts", training_steps(steps))
    assert steps == list(range(stop, config.steps + 1))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_damaged_checkpoint_is_named(labels, tmp_path):
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "training" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(SCRATCH, labels, tmp_path / "student", interrupt)
    checkpoint = tmp_path / ".student.partial" / trainer.CHECKPOINT
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(ArtifactError, match="damaged checkpoint") as caught:
        distill(SCRATCH, labels, tmp_path / "student", silent)
    assert ".student.partial" in caught.value.hint


def test_killed_training_continues_from_the_last_checkpoint(labels, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 2)
    distill(SCRATCH, labels, tmp_path / "whole", silent)

    def kill(what: str, done: int, total: int) -> None:
        if what == "training" and done == 5:
            raise MemoryError

    with pytest.raises(MemoryError):
        distill(SCRATCH, labels, tmp_path / "parts", kill)
    steps = []
    distill(SCRATCH, labels, tmp_path / "parts", training_steps(steps))
    assert steps[0] == 4
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_training_learns(labels, tmp_path):
    config = replace(SCRATCH, steps=30, batch=16, evaluate_every=10)
    found = distill(config, labels, tmp_path / "student", silent)
    rows = [line.split(",") for line in found.file("history.csv").read_text().splitlines()[1:]]
    assert float(rows[-1][2]) < 0.8 * float(rows[1][2])


def test_crops_are_labelled_by_whoever_hears_them(labels, tmp_path):
    heard = []

    def load():
        return lambda clips: (
            heard.extend(clips) or np.tile(np.array([[0.1, 0.2, 0.3]], np.float32), (len(clips), 1))
        )

    relabel = Relabel("listener", "its digest", load)
    found = distill(SCRATCH, labels, tmp_path / "student", silent, relabel)
    assert len(heard) == SCRATCH.pool
    assert found.manifest.inputs["relabel"] == "its digest"
    assert json.loads(found.file("metrics.json").read_text())["crops_labelled_by"] == "listener"
    heard.clear()
    plain = distill(SCRATCH, labels, tmp_path / "plain", silent)
    assert heard == []
    assert "relabel" not in plain.manifest.inputs


@pytest.mark.parametrize("hears", ["heard", "dry"])
def test_the_teacher_hears_what_the_settings_say(labels, tmp_path, hears):
    heard = []

    def load():
        return lambda clips: heard.extend(clips) or np.zeros((len(clips), 3), np.float32)

    config = replace(SCRATCH, labels=hears)
    distill(config, labels, tmp_path / "student", silent, Relabel("listener", "its digest", load))
    splits = load_splits(read_labels(labels), 800)
    drawing = Drawing(crop_samples(config.crop_s), mixup=config.mixup, speed=True)
    for number in (0, 1, 2):
        crop = draw(splits.train, balanced(splits.train.targets), number, drawing)
        np.testing.assert_array_equal(heard[number], getattr(crop, hears))
        assert not np.array_equal(crop.heard, crop.dry)


def test_final_weights_learn_from_all_clips_and_are_the_last(labels, tmp_path, monkeypatch):
    pools = []

    def remember(clips, *arguments):
        pools.append(len(clips))
        return make_pool(clips, *arguments)

    monkeypatch.setattr("distill.pool.make_pool", remember)
    config = replace(SCRATCH, steps=3, learning_rate=0.0, final=True)
    found = distill(config, labels, tmp_path / "student", silent)
    metrics = json.loads(found.file("metrics.json").read_text())
    assert metrics["kept_step"] == 3
    best = distill(replace(config, final=False), labels, tmp_path / "best", silent)
    assert pools == [12, 8]
    assert json.loads(best.file("metrics.json").read_text())["kept_step"] < 3


def test_what_was_learned_from_is_no_held_out_measurement(tmp_path):
    labels = write_labels(tmp_path, ["train"] * 6)
    for final, measured_on, count in ((True, "train", 6), (False, "dev", 1)):
        config = replace(SCRATCH, steps=1, final=final)
        found = distill(config, labels, tmp_path / measured_on, silent)
        metrics = json.loads(found.file("metrics.json").read_text())
        assert (metrics["measured_on"], metrics["clips"][measured_on]) == (measured_on, count)


def test_the_loss_of_the_settings_is_learned_and_named(labels, tmp_path, monkeypatch):
    """A squared error of 0 to 1 is far below what disagreement starts from."""
    first = {}
    for loss, name in LOSS_NAMES.items():
        found = distill(replace(SCRATCH, steps=2, loss=loss), labels, tmp_path / loss, silent)
        assert name in found.file("history.svg").read_text()
        first[loss] = float(found.file("history.csv").read_text().splitlines()[2].split(",")[2])
    assert first["mse"] < 1 < 2 < first["ccc"]


def test_bfloat16_learns_as_float32_does(labels, tmp_path):
    """The weights stay float32; what a few steps change is nearly the same."""
    found = {}
    for precision in ("float32", "bfloat16"):
        config = replace(SCRATCH, precision=precision, steps=10, final=True)
        made = distill(config, labels, tmp_path / precision, silent)
        found[precision] = load_file(made.path / "student.safetensors")
    one, other = found["float32"], found["bfloat16"]
    assert all(value.dtype == torch.float32 for value in other.values() if value.is_floating_point())
    difference = max(float((one[name] - other[name]).abs().max()) for name in one if "weight" in name)
    assert 0 < difference < 0.1


def test_grouped_convolutions_are_not_trained_in_bfloat16(labels, tmp_path):
    config = replace(SCRATCH, student="mobilenetv3-small", level="utterance", precision="bfloat16")
    with pytest.raises(ConfigError, match="grouped convolutions of mobilenetv3-small"):
        distill(config, labels, tmp_path / "student", silent)


def test_seed_changes_the_student(labels, tmp_path):
    one, two = (distill(replace(SCRATCH, seed=s), labels, tmp_path / str(s), silent) for s in (0, 1))
    assert one.file("student.onnx").read_bytes() != two.file("student.onnx").read_bytes()


def test_warm_start_keeps_the_shipped_student_unless_it_gets_better(labels, tmp_path, shipped):
    config = replace(SCRATCH, warm_start=True, steps=2, learning_rate=1.0)
    found = distill(config, labels, tmp_path / "student", silent)
    assert json.loads(found.file("metrics.json").read_text())["kept_step"] == 0
    start, end = load_file(shipped / "student.safetensors"), load_file(found.path / "student.safetensors")
    assert all(torch.equal(start[name], end[name]) for name in start)


def test_warm_start_is_not_left_for_a_chance_gain(labels, tmp_path, shipped, monkeypatch):
    config = replace(SCRATCH, warm_start=True, steps=20, batch=16)
    found = distill(config, labels, tmp_path / "better", silent)
    assert json.loads(found.file("metrics.json").read_text())["kept_step"] > 0
    monkeypatch.setattr(trainer, "CLEARLY_BETTER", 5.0)
    found = distill(config, labels, tmp_path / "not enough", silent)
    assert json.loads(found.file("metrics.json").read_text())["kept_step"] == 0
    scratch = distill(replace(config, warm_start=False), labels, tmp_path / "scratch", silent)
    assert json.loads(scratch.file("metrics.json").read_text())["kept_step"] > 0


@pytest.mark.parametrize(("gain", "kept"), [(0.009, 0), (0.02, 2)])
def test_what_ships_is_kept_where_little_is_gained(labels, tmp_path, shipped, monkeypatch, gain, kept):
    scores = iter([0.5, 0.5 + gain])
    monkeypatch.setattr(
        trainer, "measure", lambda *_: Agreement(dict.fromkeys(DIMENSIONS, next(scores)), {}, 0)
    )
    config = replace(SCRATCH, warm_start=True, steps=2)
    found = distill(config, labels, tmp_path / "student", silent)
    assert json.loads(found.file("metrics.json").read_text())["kept_step"] == kept


def test_final_weights_are_the_last_where_others_agreed_better(labels, tmp_path, shipped, monkeypatch):
    monkeypatch.setattr(trainer, "CLEARLY_BETTER", 5.0)
    for final in (False, True):
        config = replace(SCRATCH, warm_start=True, steps=2, final=final)
        found = distill(config, labels, tmp_path / str(final), silent)
        end, start = (load_file(p / "student.safetensors")["l3.conv.weight"] for p in (found.path, shipped))
        assert torch.equal(start, end) != final


def test_warm_start_leaves_batch_statistics_alone(labels, tmp_path, shipped):
    config = replace(SCRATCH, warm_start=True, steps=20, batch=16)
    found = distill(config, labels, tmp_path / "student", silent)
    assert json.loads(found.file("metrics.json").read_text())["kept_step"] > 0
    start, end = load_file(shipped / "student.safetensors"), load_file(found.path / "student.safetensors")
    assert torch.equal(start["l3.norm.running_mean"], end["l3.norm.running_mean"])
    assert not torch.equal(start["l3.conv.weight"], end["l3.conv.weight"])


def test_warm_start_is_part_of_the_identity(shipped):
    config = DistillConfig()
    before, _ = identity(config, "d")
    student = initial_student(replace(SCRATCH, seed=9))
    (shipped / "student.safetensors").write_bytes(_safetensors(student))
    after, params = identity(config, "d")
    assert before["warm_start"] != after["warm_start"]
    assert params["front_end"]["level"] == "causal"
    assert set(identity(SCRATCH, "d")[0]) == {"labels"}


def test_one_clip(tmp_path):
    labels = write_labels(tmp_path, ["train"])
    found = distill(replace(SCRATCH, steps=2), labels, tmp_path / "student", silent)
    metrics = json.loads(found.file("metrics.json").read_text())
    assert set(metrics["student_vs_teacher"].values()) == {None}
    assert set(metrics["undefined"].values()) == {"one clip: concordance needs at least two"}
    assert metrics["measured_on"] == "dev"


def test_constant_labels(tmp_path):
    labels = write_labels(tmp_path, ["train"] * 5, constant=True)
    found = distill(replace(SCRATCH, steps=2), labels, tmp_path / "student", silent)
    metrics = json.loads(found.file("metrics.json").read_text())
    assert set(metrics["student_vs_teacher"].values()) == {None}
    student = load_student(found.path, "wav2small")
    assert all(bool(torch.isfinite(p).all()) for p in student.parameters())


def test_nothing_to_train_on(tmp_path):
    labels = write_labels(tmp_path, ["test"])
    with pytest.raises(AudioError, match="no clip of split train"):
        distill(SCRATCH, labels, tmp_path / "student", silent)


def test_no_shipped_student(labels, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "SHIPPED", tmp_path)
    with pytest.raises(ConfigError, match="no trained wav2small") as error:
        distill(DistillConfig(), labels, tmp_path / "student", silent)
    assert "--from-scratch" in error.value.hint


def test_damaged_shipped_student(labels, tmp_path, shipped):
    (shipped / "student.safetensors").write_bytes(b"not weights")
    with pytest.raises(ArtifactError, match="not a trained wav2small"):
        distill(replace(SCRATCH, warm_start=True), labels, tmp_path / "student", silent)


def test_crops_that_are_too_short_for_the_student_are_refused(labels, tmp_path):
    config = replace(SCRATCH, hop=128, crop_s=0.1)
    with pytest.raises(ConfigError, match=r"crop_s = 0\.1 is too short") as error:
        distill(config, labels, tmp_path / "student", silent)
    assert error.value.hint == "use --set crop_s=0.104 or more"
    distill(replace(config, crop_s=0.104, steps=1), labels, tmp_path / "student", silent)


@pytest.mark.parametrize(
    ("steps", "message"), [(9, "step 2: the loss is nan"), (1, "step 1: the student's outputs are no finite")]
)
def test_a_training_that_diverges_stops_and_writes_nothing(labels, tmp_path, steps, message):
    config = replace(SCRATCH, steps=steps, learning_rate=1e30, evaluate_every=9, final=True)
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        distill(config, labels, tmp_path / "student", silent)
    work = tmp_path / ".student.partial"
    assert error.value.hint == f"remove {work}, then train with a lower --set learning_rate than 1e+30"
    assert not (tmp_path / "student").exists()
    assert {path.name for path in work.iterdir()} == {artifact.MARKER, ".pool"}


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_neither_loss_nor_gradient_may_be_no_number(labels, tmp_path, monkeypatch, broken):
    """The weights of the step before stay as they were, and are what the last checkpoint holds."""
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY", 1)
    real, steps = LOSSES["ccc"], []

    def loss(prediction, target):
        steps.append(len(steps))
        found = real(prediction, target)
        if len(steps) < 4:
            return found
        # The square root of nothing has an infinite slope.
        return found + math.inf if broken == "loss" else found + (prediction - prediction).sum().abs().sqrt()

    monkeypatch.setitem(LOSSES, "ccc", loss)
    with pytest.raises(ConfigError, match="step 4: the loss is"):
        distill(SCRATCH, labels, tmp_path / "student", silent)
    kept = torch.load(tmp_path / ".student.partial" / trainer.CHECKPOINT)
    assert kept["step"] == 3
    assert all(bool(torch.isfinite(value).all()) for value in kept["student"].values())


def test_learning_rate_rises_then_falls():
    rates = [learning_rate(step, 40, 1e-3) for step in range(40)]
    assert max(rates) == 1e-3
    assert rates.index(max(rates)) in (1, 2)
    assert rates[-1] < 1e-5


def test_agreement_is_the_mean_of_what_is_defined():
    target = np.array([[0.1, 0.2, 0.5], [0.9, 0.4, 0.5], [0.3, 0.9, 0.5]])
    found = measure(target, target)
    assert found.score == pytest.approx(1)
    assert found.ccc == {"arousal": pytest.approx(1), "dominance": pytest.approx(1), "valence": None}
    nothing_defined = measure(target[:1] + 0.1, target[:1])
    assert nothing_defined.score == pytest.approx(-0.01)


@pytest.mark.parametrize(("level", "hop"), [("causal", 32), ("utterance", 32), ("causal", 128)])
def test_shipped_students_are_what_a_warm_start_expects(level, hop):
    config = recommended_config(level=level, hop=hop)
    folder = registry.shipped_student(config.student, level, hop)
    student = load_student(folder, config.student)
    assert student.front_end == config.front_end
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["parameters"] == sum(p.numel() for p in student.parameters())
    assert sum(p.numel() for p in student.parameters() if p.requires_grad) == 67_577
    assert (folder / "MODEL_CARD.md").is_file()


def test_every_shipped_student_is_known():
    assert registry.shipped_variants() == [
        "wav2small-causal",
        "wav2small-hop128-causal",
        "wav2small-utterance",
    ]


def test_identity_needs_no_torch():
    code = "import sys, distill.training as t; t.identity(t.DistillConfig(warm_start=False), 'd'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
