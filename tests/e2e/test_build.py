"""The whole build with real stages, small: eight clips, a random teacher, two training steps."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgekit import artifact, pipeline
from edgekit.audio import DEFAULT_AUDIO, find_audio
from edgekit.cli import main
from edgekit.metrics import DIMENSIONS
from edgekit.progress import silent
from edgekit.report import STAGES
from edgekit.uploader.keys import DEVELOPMENT_KEY

SECONDS_OF_PARITY = 2.0


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Make every stage do little; what it does stays real."""
    import codegen.checks
    import quantize.evaluation
    from distill import config as settings_of

    recommended = settings_of.recommended_config

    def little(*words: object, **settings: object) -> settings_of.DistillConfig:
        config = recommended(*words, **settings)
        return replace(config, warm_start=False, steps=2, batch=4, crop_s=0.6, threads=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_of, "recommended_config", little)
        patch.setattr(codegen.checks, "PARITY_AUDIO_S", SECONDS_OF_PARITY)
        patch.setattr(quantize.evaluation, "PARITY_AUDIO_S", SECONDS_OF_PARITY)
        yield


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from wavllm_teacher.assembly import write_compact
    from wavllm_teacher.compact import CompactShape, CompactTeacher

    torch.manual_seed(0)
    ranks = {"stem_ranks": (8, 8), "attention_ranks": (8, 8), "expansion_ranks": (8, 8)}
    shape = CompactShape(width=32, expansion=32, blocks=1, heads=2, **ranks)
    folder = tmp_path_factory.mktemp("teacher")
    write_compact(CompactTeacher(shape), shape, folder)
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips, two of them held out."""
    folder = tmp_path_factory.mktemp("audio")
    clips = find_audio([DEFAULT_AUDIO])
    rows = ["file,split"]
    for number, clip in enumerate(clips[:: len(clips) // 8][:8]):
        shutil.copy(clip, folder)
        rows.append(f"{clip.name},{'test' if number % 4 == 3 else 'train'}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


@dataclass
class Built:
    config: pipeline.BuildConfig
    build: pipeline.Build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, audio: Path, teacher: Path, small: None) -> Built:
    out = tmp_path_factory.mktemp("build") / "hearing-aid"
    config = pipeline.BuildConfig("hearing-aid", out, (audio,), str(teacher))
    return Built(config, pipeline.build(config, silent))


def digests(build: pipeline.Build) -> dict[str, str]:
    return {stage: made.digest for stage, made in build.artifacts.items()}


def words(built: Built, out: Path) -> list[str]:
    config = built.config
    inputs = ["--audio", str(config.audio[0]), "--teacher", config.teacher]
    return ["build", "--target", "hearing-aid", *inputs, "--out", str(out)]


def test_leaves_the_build_directory_of_the_contract(built):
    out = built.config.out
    for file in (
        *("labels/labels.parquet", "student/student.safetensors", "student/student.onnx"),
        *("student/frontend.json", "student/metrics.json", "student/history.csv"),
        *(
            "graph/graph.json",
            "graph/weights.npz",
            "graph/model.onnx",
            "graph/model.tflite",
            "graph/parity.json",
        ),
        *("c/edgekit_model.h", "c/edgekit_model.c", "c/Makefile", "c/parity.json"),
        *("firmware/firmware.elf", "firmware/firmware.bin", "firmware/model.bin"),
        *("firmware/firmware.signed.bin", "firmware/model.signed.bin"),
        *("sim/profile.json", "report/report.json", "report/report.html"),
    ):
        assert (out / file).stat().st_size > 0, file
    # The stages' work folders are gone.
    hidden = {p.name for p in out.rglob(".*")}
    assert hidden == {".lock"}


def test_every_back_end_computes_the_graphs_integers(built):
    parity = built.build.report.parity
    assert set(parity) == {"onnx", "tflite", "tflite-micro", "c-host", "simulated-core"}
    assert all(backend.held for backend in parity.values())
    for exact in ("c-host", "simulated-core", "tflite", "tflite-micro"):
        assert parity[exact].mismatches == 0
        assert parity[exact].elements > 10_000


def test_the_graph_and_its_copies_say_what_they_are(built):
    stored = json.loads((built.config.out / "graph" / "graph.json").read_text())["metadata"]
    assert stored["student"] == "wav2small, hop 32, causal"
    assert stored["output"] == "arousal, dominance, valence"
    assert stored["licence"].startswith("of the teacher's labels: ")
    assert json.loads(stored["front_end"])["sample_rate_hz"] == 16000
    for file in ("model.onnx", "model.tflite"):
        content = (built.config.out / "graph" / file).read_bytes()
        for value in (stored["student"], stored["licence"]):
            assert value.encode() in content, file


def test_the_report_adds_up(built):
    report = built.build.report
    assert report.size["parameters"].value == 72_659
    assert report.size["onnx_bytes"].value == (built.config.out / "graph" / "model.onnx").stat().st_size
    memory = {name: figure.value for name, figure in report.memory.figures.items()}
    parts = ("static_bytes", "stack_bytes", "audio_buffer_bytes")
    assert memory["total_ram_bytes"] == sum(memory[part] for part in parts)
    variables = memory["static_bytes"] + memory["audio_buffer_bytes"]
    assert sum(symbol.size_bytes for symbol in report.memory.ram_symbols) <= variables
    assert sum(report.memory.state_bytes_by_layer.values()) <= memory["static_bytes"]
    assert sum(report.memory.flash_sections.values()) == report.size["flash_bytes"].value
    assert memory["total_ram_bytes"] <= 32_768
    by_layer = sum(layer.cycles_per_second_of_audio for layer in report.layers)
    assert by_layer == pytest.approx(report.latency["cycles_per_second_of_audio"].value, rel=0.02)
    for dimension in DIMENSIONS:
        assert report.accuracy["device_vs_graph"][dimension].value == 1.0
    assert report.learning.steps[0]["step"] == 0
    assert {"l1", "l7", "lin", "sof", "adv"} <= {row.layer for row in report.quantization.layers}
    assert {layer.part for layer in report.layers} == {"front end", "network", "around"}


def test_manifests_name_no_place_on_this_machine(built):
    for manifest in built.config.out.rglob("manifest.json"):
        assert str(built.config.out.parent) not in manifest.read_text()
        assert str(built.config.audio[0]) not in manifest.read_text()


def test_its_images_fit_its_own_device(built, capsys):
    for kind in ("model", "firmware"):
        file = built.config.out / "firmware" / f"{kind}.signed.bin"
        words = ["--key", str(DEVELOPMENT_KEY), "--build", str(built.config.out)]
        assert main(["image", "verify", str(file), *words]) == 0, capsys.readouterr().err


def test_a_second_build_runs_nothing(built):
    again = pipeline.build(built.config, silent)
    assert again.ran == ()
    assert again.report == built.build.report


def test_interrupted_in_every_stage_it_resumes_to_the_same_bytes(built, tmp_path):
    out = tmp_path / "out"
    config = replace(built.config, out=out)
    for number, (stage, folder) in enumerate(STAGES.items()):
        interrupted = False

        def interrupt(what: str, done: int, total: int, stage: str = stage) -> None:
            nonlocal interrupted
            # In the middle where there is one: after the stage's first word about it.
            if f"] {stage}:" in what and (done > 0 or stage in ("codegen", "firmware")):
                interrupted = True
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipeline.build(config, interrupt)
        assert interrupted
        assert not (out / folder).exists()
        assert [s for s in STAGES.values() if (out / s).exists()] == list(STAGES.values())[:number]
    assert digests(pipeline.build(config, silent)) == digests(built.build)


def test_from_the_command_line(built, tmp_path, capsys):
    # Copied, so that the build has nothing left to do.
    out = tmp_path / "out"
    shutil.copytree(built.config.out, out)
    code = main([*words(built, out), "--json"])
    captured = capsys.readouterr()
    assert code == (4 if built.build.report.exceeded else 0)
    assert json.loads(captured.out) == built.build.report.to_dict()
    notice, first = captured.err.splitlines()[:2]
    assert notice.startswith("teacher compact: licence Apache-2.0 and MIT; from ")
    assert first == "[1/7] label: unchanged"
    assert main(["simulate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]
    assert main(["simulate", str(out), "--audio", str(find_audio([DEFAULT_AUDIO])[3])]) == 0
    assert capsys.readouterr().out.startswith("arousal ")


def test_for_this_computer_it_is_measured(built, tmp_path, capsys):
    # Labels, student and graph are the same for every target.
    out = tmp_path / "out"
    for folder in ("labels", "student", "graph"):
        shutil.copytree(built.config.out / folder, out / folder)
    artifact.write_json(out / "build.json", {"schema": 1, "target": "host", "target_file": "host"})
    made = pipeline.build(replace(built.config, target="host", out=out), silent)
    assert made.ran == ("codegen", "firmware", "simulate", "alternatives")
    report = made.report
    assert set(report.parity) == {"onnx", "tflite", "tflite-micro", "c-host", "native-program"}
    assert report.parity["native-program"].mismatches == 0
    assert report.parity["native-program"].elements > 10_000
    assert report.latency["core_load_percent"].basis == "measured"
    assert report.latency["instructions_per_second_of_audio"].value is None
    assert "average_uw" not in {verdict.budget for verdict in report.verdicts}
    memory = {name: figure.value for name, figure in report.memory.figures.items()}
    assert sum(report.memory.state_bytes_by_layer.values()) <= memory["static_bytes"]
    # The rest of the flash is code and tables.
    assert 0 < report.size["flash_bytes"].value - report.size["weights_bytes"].value < 100_000
    assert main(["simulate", str(out)]) == 0
    assert "n/a" in capsys.readouterr().out
    assert main(["simulate", str(out), "--lines"]) == 2


def test_stages_as_commands_write_the_same_bytes(built, tmp_path, capsys):
    labels, student, graph, c = (str(tmp_path / name) for name in ("labels", "student", "graph", "c"))
    teacher = built.config.teacher
    assert main(["label", str(built.config.audio[0]), "--teacher", teacher, "--out", labels]) == 0
    assert main(["distill", labels, "--out", student]) == 0
    assert main(["quantize", student, "--labels", labels, "--out", graph]) == 0
    assert main(["codegen", graph, "--target", "hearing-aid", "--out", c]) == 0
    made = {stage: artifact.read(tmp_path / STAGES[stage], stage).digest for stage in list(STAGES)[:4]}
    assert made.items() <= digests(built.build).items()


class TestInput:
    def build(self, built: Built, folder: Path, out: Path) -> int:
        return main([*words(built, out)[:3], "--audio", str(folder), *words(built, out)[5:]])

    def test_a_clip_shorter_than_one_frame(self, built, tmp_path, capsys):
        soundfile.write(tmp_path / "short.wav", np.zeros(63), 16_000)
        assert self.build(built, tmp_path, tmp_path / "out") == 7
        assert "63 samples at 16 kHz, shorter than one frame" in capsys.readouterr().err
        assert not (tmp_path / "out" / "labels").exists()

    def test_one_constant_clip(self, built, tmp_path, capsys):
        """Nothing can be learnt from it, but a build is possible, and the report says what is undefined."""
        (tmp_path / "audio").mkdir()
        soundfile.write(tmp_path / "audio" / "constant.wav", np.full(16_000, 0.1), 16_000)
        assert self.build(built, tmp_path / "audio", tmp_path / "out") in (0, 4)
        assert "n/a" in capsys.readouterr().out

    def test_many_formats_together(self, built, tmp_path):
        """8 kHz, 48 kHz stereo, float and 24-bit files are labelled as the 16 kHz mono that they become."""
        rng = np.random.default_rng(0)
        (tmp_path / "audio").mkdir()
        for name, rate_hz, channels, subtype in (
            ("a", 8_000, 1, "PCM_16"),
            ("b", 48_000, 2, "PCM_16"),
            ("c", 16_000, 1, "FLOAT"),
            ("d", 44_100, 1, "PCM_24"),
        ):
            samples = rng.normal(size=(rate_hz, channels)) * 0.1
            soundfile.write(tmp_path / "audio" / f"{name}.wav", samples, rate_hz, subtype=subtype)
        code = main(
            [
                "label",
                str(tmp_path / "audio"),
                "--teacher",
                built.config.teacher,
                "--out",
                str(tmp_path / "out"),
            ]
        )
        assert code == 0
