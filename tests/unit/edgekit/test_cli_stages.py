"""The commands of single stages: which function each calls with what, and what it prints."""

import json
from pathlib import Path

import numpy as np
import pytest
from unit.edgekit.commands import error

from edgekit import artifact
from edgekit.pipeline import listener
from wavllm_teacher import labelling


@pytest.fixture
def made(tmp_path) -> artifact.Artifact:
    with artifact.writing(tmp_path / "made", "label", {}, {}) as work:
        (work / "labels.parquet").write_text("12345")
    return artifact.read(tmp_path / "made", "label")


class TestStages:
    """Each command calls its stage's function with what was asked for, and prints what that wrote."""

    CALLS = (
        (
            [
                "distill",
                "a",
                *["--seed", "3", "--level", "utterance", "--hop", "64", "--relabel", "none", "--out", "o"],
                *["--set", "steps=7", "--set", "mixup=0"],
            ],
            "distill.training.distill",
        ),
        (["quantize", "a", "--labels", "b", "--weights", "int8", "--out", "o"], "quantize.stage.quantize"),
        (["codegen", "a", "--target", "hearing-aid", "--out", "o"], "codegen.stage.generate"),
    )

    @pytest.fixture
    def calls(self, monkeypatch, made) -> list[tuple[object, ...]]:
        calls: list[tuple[object, ...]] = []
        for _, function in self.CALLS:
            monkeypatch.setattr(
                function, lambda *arguments, **rest: calls.append((rest, *arguments[:-1])) or made
            )
        return calls

    @pytest.mark.parametrize(("words", "function"), CALLS)
    def test_print_what_was_written(self, edgekit, calls, made, words, function):
        ran = edgekit(*words)
        assert ran.code == 0
        assert ran.out == f"{made.path}: label artifact {made.digest[:12]}\n  labels.parquet  5 bytes\n"
        assert len(calls) == 1
        assert calls[0][-1] == Path("o")

    @pytest.mark.parametrize(("words", "function"), CALLS)
    def test_as_json(self, edgekit, calls, made, words, function):
        assert json.loads(edgekit(*words, "--json").out) == {
            "stage": "label",
            "path": str(made.path),
            "digest": made.digest,
            "files": ["labels.parquet"],
        }

    @pytest.fixture
    def labelled(self, monkeypatch, made) -> list[tuple[object, ...]]:
        calls: list[tuple[object, ...]] = []
        monkeypatch.setattr(labelling, "label", lambda *words, **rest: calls.append((*words, rest)) or made)
        monkeypatch.setattr(labelling, "summarize", lambda _: labelling.Summary(3, 5, 0.5, 1, {"b": "empty"}))
        return calls

    def test_label(self, edgekit, labelled, made):
        ran = edgekit("label", "a", "b", "--teacher", "T", "--strict", "--out", "o")
        config, out, *_, rest = labelled[0]
        assert (config.audio, config.teacher, out) == ((Path("a"), Path("b")), "T", Path("o"))
        assert rest == {"strict": True}
        assert ran.out.startswith(f"{made.path}: label artifact {made.digest[:12]}\n  files       3\n")
        assert ran.out.endswith("unreadable  1\n    b: empty\n")

    def test_label_as_json(self, edgekit, labelled, made):
        found = json.loads(edgekit("label", "a", "--out", "o", "--json").out)
        assert (found["path"], found["digest"]) == (str(made.path), made.digest)
        assert (found["pieces"], found["unreadable"]) == (5, {"b": "empty"})
        assert labelled[0][-1] == {"strict": False}

    def test_an_onnx_model_is_calibrated_on_arrays(self, edgekit, monkeypatch, made):
        seen = []
        monkeypatch.setattr("quantize.foreign.quantize_model", lambda *words: seen.append(words) or made)
        assert (
            edgekit("quantize", "m.onnx", "--calibration", "d.npy", "--qat-steps", "3", "--out", "o").code
            == 0
        )
        config, *files = seen[0][:4]
        assert (config.weights, config.qat_steps) == ("mixed4", 3)
        assert files == [Path("m.onnx"), Path("d.npy"), Path("o")]
        ran = edgekit("quantize", "m.onnx", "--out", "o")
        assert (ran.code, ran.err) == (
            2,
            "error: no inputs to calibrate with\nhint: add --calibration, a .npy of real inputs\n",
        )

    def test_quantize_needs_labels_for_a_student_alone(self, edgekit, calls, made, monkeypatch):
        ran = edgekit("quantize", "a", "--out", "o")
        assert (ran.code, ran.err) == (
            2,
            "error: no labels to calibrate with\nhint: add --labels, a folder of edgekit label\n",
        )
        adopted = []
        monkeypatch.setattr("quantize.adoption.adopt", lambda *words: adopted.append(words[:-1]) or made)
        assert edgekit("quantize", "m.tflite", "--runtime", "litert", "--out", "o").code == 0
        assert adopted == [(Path("m.tflite"), Path("o"), "litert")]

    def test_distill_settings(self, edgekit, calls):
        edgekit(*self.CALLS[0][0])
        rest, config, *_ = calls[0]
        found = (config.student, config.level, config.hop, config.seed, config.warm_start)
        assert found == ("wav2small", "utterance", 64, 3, True)
        assert (config.steps, config.mixup) == (7, 0)
        assert rest == {"relabel": None}
        edgekit(*self.CALLS[0][0], "--from-scratch")
        assert not calls[1][1].warm_start

    def test_who_labels_the_crops(self, edgekit, calls, made, monkeypatch):
        edgekit("distill", made.path, "--out", "o")
        edgekit("distill", made.path, "--relabel", "compact", "--out", "o")
        assert calls[0][0] == {"relabel": None}, "these labels are not the compact teacher's"
        assert calls[1][0]["relabel"].name == "compact"
        monkeypatch.setattr(
            "wavllm_teacher.registry.teacher_digest", lambda _: made.manifest.inputs.get("teacher")
        )
        edgekit("distill", made.path, "--out", "o")
        assert calls[2][0]["relabel"].name == "compact"

    def test_labels_of_several_teachers_are_averaged(self, edgekit, calls, made, monkeypatch):
        class Teacher:
            def __init__(self, level):
                self.level = level

            def predict(self, clips):
                return np.full((len(clips), 3), self.level, np.float32)

        edgekit("distill", made.path, "--relabel", "compact", "--relabel", "compact", "--out", "o")
        relabel = calls[0][0]["relabel"]
        assert relabel.name == "compact + compact"
        assert relabel.digest != listener("compact").digest
        levels = iter([0.25, 0.5])
        monkeypatch.setattr("wavllm_teacher.registry.load_teacher", lambda _: Teacher(next(levels)))
        assert relabel.load()([np.zeros(9, np.float32)]).tolist() == [[0.375] * 3]
        ran = edgekit("distill", made.path, "--relabel", "none", "--relabel", "compact", "--out", "o")
        assert (ran.code, error(ran)[0]) == (2, "--relabel none beside a teacher")

    def test_no_seed_is_negative(self, edgekit, calls):
        ran = edgekit("distill", "a", "--seed", "-1", "--out", "o")
        assert (ran.code, calls) == (2, [])
        assert "-1 is not in the range x>=0" in ran.err

    def test_quantize_settings(self, edgekit, calls):
        edgekit(*self.CALLS[1][0])
        assert (calls[0][1].weights, *calls[0][2:4]) == ("int8", Path("a"), Path("b"))

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (["m.tflite", "--weights", "int8"], "--weights"),
            (["m.tflite", "--qat-steps", "3"], "--qat-steps"),
            (["m.onnx", "--calibration", "d.npy", "--runtime", "litert"], "--runtime"),
            (["a", "--labels", "b", "--calibration", "d.npy"], "--calibration"),
        ],
    )
    def test_an_option_of_another_kind_of_model_is_refused(self, edgekit, calls, words, named):
        ran = edgekit("quantize", *words, "--out", "o")
        assert ran.code == 2
        assert error(ran)[0] == f"{named} does not apply to {words[0]}"

    def test_codegen_settings(self, edgekit, calls):
        edgekit(*self.CALLS[2][0])
        assert (calls[0][1], calls[0][2].name) == (Path("a"), "hearing-aid")

    def test_label_without_audio(self, edgekit):
        ran = edgekit("label", "--out", "o")
        assert ran.code == 7
        assert error(ran)[0] == "no audio given"

    @pytest.mark.parametrize(
        "words",
        [
            ["distill", "{tmp}", "--from-scratch"],
            ["quantize", "{tmp}", "--labels", "{tmp}"],
            ["codegen", "{tmp}", "--target", "hearing-aid"],
        ],
    )
    def test_on_a_folder_without_an_artifact(self, edgekit, tmp_path, words):
        ran = edgekit(*(word.format(tmp=tmp_path) for word in words), "--out", tmp_path / "out")
        assert ran.code == 5
        assert f"{tmp_path}: no" in error(ran)[0]
        assert not (tmp_path / "out").exists()
