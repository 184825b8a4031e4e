"""`edgekit tune`: both stages from a shell, and what can be done with their folders."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from unit.edgekit.commands import Ran, error
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, WHISPER_ALONE
from unit.wavllm_teacher.speech_llm.tasks_tiny import LINES, write_frozen, write_tasks

from edgekit.labels import read_labels
from edgekit.threads import torch_threads
from wavllm_teacher.speech_llm import planning, stage, storage
from wavllm_teacher.speech_llm.curriculum import Schedule, Trainer
from wavllm_teacher.speech_llm.instructions import Mixture, read_manifest
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.planning import TuneConfig
from wavllm_teacher.speech_llm.quantized import is_quantized
from wavllm_teacher.speech_llm.teacher import write_teacher
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

ROOT = Path(__file__).parents[3]
FIRST = ("--steps", 4, "--batch", 3, "--weight", "emotion=2", "--weight", "text=1")
SECOND = ("--steps", 3, "--batch", 2, "--learning-rate", 0.01, "--seed", 5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    return write_frozen(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def parts(sources) -> list[object]:
    return [word for part, path in sources.items() for word in (f"--{part}", path)]


@pytest.fixture
def tasks(tmp_path) -> Path:
    return write_tasks(tmp_path)


@pytest.fixture
def first(edgekit, tasks, parts, tmp_path) -> Path:
    """Stage one, trained by the command."""
    assert edgekit("tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", tmp_path / "one").code == 0
    return tmp_path / "one"


def by_library(folder, tasks, sources, schedule, weights=None, start=None) -> dict[str, torch.Tensor]:
    """The same training, step by step as the guide has it."""
    torch.manual_seed(schedule.seed)
    model = SpeechLlm(TINY, 1 if start is None else 2, empty=True)
    storage.load_frozen(model, sources)
    if start is not None:
        storage.load_adapters(model, start)
    lines = [line for line in read_manifest(tasks) if line.split == "train"]
    with torch_threads(1):
        Trainer(model, ByteTokenizer(), Mixture(lines, weights), schedule, folder).run()
    return dict(model.trained())


def require_same(folder, wanted) -> None:
    found = load_file(folder / "adapters.safetensors")
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def history(folder) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def test_both_stages_train_as_the_library_does(edgekit, tasks, parts, sources, first, tmp_path):
    schedule = Schedule(4, 3)
    wanted = by_library(tmp_path / "a", tasks, sources, schedule, {"text": 1, "emotion": 2})
    require_same(first, wanted)
    ran = edgekit("tune", tasks, "--from", first, *parts, *SECOND, "--out", tmp_path / "two")
    assert ran.code == 0
    schedule = Schedule(3, 2, 0.01, seed=5)
    require_same(tmp_path / "two", by_library(tmp_path / "b", tasks, sources, schedule, start=first))
    assert storage.read_facts(tmp_path / "two")["stage"] == 2
    # Stage two of a folder that has been through it goes on from there.
    ran = edgekit("tune", tasks, "--from", tmp_path / "two", *parts, *SECOND, "--out", tmp_path / "three")
    assert ran.code == 0
    wanted = by_library(tmp_path / "c", tasks, sources, schedule, start=tmp_path / "two")
    require_same(tmp_path / "three", wanted)


def test_what_it_prints_and_writes(edgekit, tasks, parts, tmp_path):
    words = ("tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", tmp_path / "one")
    ran = edgekit(*words)
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'one'}: tune artifact ")
    found = history(tmp_path / "one")
    assert [row["step"] for row in found] == ["1", "2", "3", "4"]
    assert [float(row["learning_rate"]) for row in found] == pytest.approx(
        [Schedule(4).rate(step) for step in range(4)], rel=1e-5
    )
    ends = f"loss {float(found[0]['loss']):.3f} in the first step, {float(found[3]['loss']):.3f} in the last"
    assert lines[-3] == f"stage 1: 37,411 numbers trained, {ends}"
    assert lines[-2].startswith("emotion, 1 dev lines: accuracy ")
    assert lines[-1].startswith("text, 1 dev lines: accuracy ")
    assert "training stage 1 4/4, loss " in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "one", "tasks.jsonl"]
    evaluated = edgekit("evaluate", tasks, "--split", "dev", "--model", tmp_path / "one", *parts, "--json")
    as_json = json.loads(edgekit(*words, "--json").out)
    assert as_json["dev"] == json.loads(evaluated.out)["tasks"]
    assert as_json["loss"]["last"] == pytest.approx(float(found[3]["loss"]), rel=1e-5)


def test_dev_lines_that_cannot_be_asked_are_counted(edgekit, tasks, parts, tmp_path):
    """A header can say more than there is: that is found out when it is read."""
    soundfile.write(tmp_path / "cut.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    (tmp_path / "cut.flac").write_bytes((tmp_path / "cut.flac").read_bytes()[:9000])
    write_tasks(tmp_path, [*LINES, {**LINES[4], "audio": "cut.flac", "task": "cut"}])
    ran = edgekit("tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", tmp_path / "one")
    assert ran.code == 0
    assert "\ncut, 0 dev lines, 1 left out\nemotion, 1 dev lines: accuracy " in ran.out


def test_as_many_positions_as_are_needed_are_enough(edgekit, tasks, tmp_path):
    def tune(positions: int) -> Ran:
        shape = replace(TINY, decoder=replace(TINY.decoder, positions=positions))
        (tmp_path / "sizes.json").write_text(json.dumps(shape.to_dict()))
        sources = write_frozen(tmp_path / "frozen", shape)
        parts = [word for part, path in sources.items() for word in (f"--{part}", path)]
        words = ("--size", tmp_path / "sizes.json", *parts, "--steps", 1, "--out", tmp_path / str(positions))
        return edgekit("tune", tasks, *words)

    write_tasks(tmp_path, LINES[1:2])
    match = re.search(r"1\.wav: speech, prompt and answer need (\d+) positions", error(tune(50))[0])
    assert match
    assert tune(int(match[1]) - 1).code == 2
    assert tune(int(match[1])).code == 0


def test_its_folder_answers_and_labels(edgekit, tasks, parts, first, tmp_path):
    clip = tmp_path / "clips/0.wav"
    ran = edgekit("ask", clip, "How?", "--model", first, *parts, "--max-tokens", 4)
    assert (ran.code, len(ran.out) > 1) == (0, True)
    two = tmp_path / "two"
    assert edgekit("tune", tasks, "--from", first, *parts, *SECOND, "--whole", "--out", two).code == 0
    asked = edgekit("ask", clip, "How?", "--model", two, *parts, "--max-tokens", 4)
    assert edgekit("ask", clip, "How?", "--model", two, "--max-tokens", 4).out == asked.out
    write_teacher(two, "mine", "CC0-1.0")
    assert edgekit("label", tmp_path / "clips", "--teacher", two, "--out", tmp_path / "labels").code == 0
    assert read_labels(tmp_path / "labels").teacher == ["mine"] * 2
    # A whole folder needs no other parts for another training.
    more = edgekit("tune", tasks, "--from", two, *SECOND, "--out", tmp_path / "three")
    assert more.code == 0


def test_what_is_trained_is_not_trained_again(edgekit, tasks, parts, first, tmp_path, monkeypatch):
    words = ["tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", first]
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    monkeypatch.setattr(stage, "_learn", lambda *_: pytest.fail("trained again"))
    ran = edgekit(*words)
    assert f"{first}: was trained before; nothing is to do\n" in ran.err
    assert "stage 1: 37,411 numbers trained" in ran.out
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    # Lines of dev, other tasks, gradient checkpointing and the frozen parts do not decide what is learned.
    write_tasks(tmp_path, LINES[:3])
    assert edgekit(*words, "--recompute", "--whole").code == 0
    # Neither does where the manifest lies.
    assert edgekit("tune", write_tasks(tmp_path / "moved"), *words[2:]).code == 0
    assert (first / "decoder/model.safetensors").is_file()
    monkeypatch.setattr(storage, "save_frozen", lambda *_: pytest.fail("written again"))
    assert edgekit(*words, "--whole").code == 0
    write_tasks(tmp_path, LINES[1:])
    said, hint = error(edgekit(*words))
    assert said == f"{first}: was made with other settings or inputs (tasks)"
    assert hint == f"use those again, choose another --out, or remove {first}"


def test_all_that_decides_what_is_learned_counts(edgekit, tasks, parts, first, sources, tmp_path):
    words = ["tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", first]

    def refused(*more: object) -> str:
        said, _ = error(edgekit(*words, *more))
        return said.partition("inputs ")[2]

    assert refused("--bits", 8) == "(bits)"
    decoder = tmp_path / "decoder"
    shutil.copytree(sources["decoder"], decoder)
    tokenizer = decoder / "tokenizer.json"
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), indent=7))
    assert refused("--decoder", decoder) == "(tokenizer/tokenizer.json)"
    write_tasks(tmp_path, [*LINES[:2], {**LINES[2], "system": "Hear."}])
    assert refused() == "(tasks)"


def test_a_training_that_diverges_is_no_success(edgekit, tasks, parts, tmp_path):
    words = [
        "tune",
        tasks,
        "--size",
        "tiny",
        *parts,
        *FIRST,
        "--learning-rate",
        1e30,
        "--out",
        tmp_path / "o",
    ]
    said, hint = error(edgekit(*words))
    assert re.match(r"step \d: the loss is nan", said)
    assert "lower the learning rate" in hint
    assert not (tmp_path / "o").exists()


def test_options_reach_the_training(edgekit, tasks, monkeypatch, tmp_path):
    seen = []

    def note(config, progress):
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "prepare", note)
    assert edgekit("tune", tasks, "--steps", 7, "--out", tmp_path / "o").code == 130
    more = ("--size", "tiny", "--decoder", "d", "--whisper", "w", "--wavlm", "v", "--weight", "a=b=2.5")
    more += ("--batch", 2, "--learning-rate", 0.5, "--seed", 3, "--recompute", "--bits", 4, "--threads", 2)
    assert edgekit("tune", tasks, "--steps", 7, "--from", "f", *more, "--out", tmp_path / "o").code == 130
    assert seen[0] == TuneConfig(tasks, Schedule(7), {})
    sources = {"decoder": Path("d"), "whisper": Path("w"), "wavlm": Path("v")}
    schedule = Schedule(7, 2, 0.5, seed=3, recompute=True)
    assert seen[1] == TuneConfig(tasks, schedule, sources, "tiny", Path("f"), {"a=b": 2.5}, 4, 2)


def test_sizes_in_a_file_without_wavlm_and_in_8_bits(edgekit, tasks, tmp_path, monkeypatch):
    sources = write_frozen(tmp_path / "frozen", WHISPER_ALONE)
    (tmp_path / "sizes.json").write_text(json.dumps(WHISPER_ALONE.to_dict()))
    words = ("--decoder", sources["decoder"], "--whisper", sources["whisper"], "--bits", 8)
    words += ("--size", tmp_path / "sizes.json", "--steps", 1, "--whole", "--out", tmp_path / "one")
    learn_part, seen = Trainer._learn_part, []

    def noted(trainer, *arguments):
        seen.append((is_quantized(trainer.model.decoder), torch.get_num_threads()))
        return learn_part(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_learn_part", noted)
    assert edgekit("tune", tasks, *words, "--threads", 3).code == 0
    assert seen == [(True, 3)]
    # Its frozen parts are the published ones, not the rounded.
    found, own = (load_file(f / "decoder/model.safetensors") for f in (tmp_path / "frozen", tmp_path / "one"))
    assert all(torch.equal(own[name], value) for name, value in found.items())
    asked = edgekit("ask", tmp_path / "clips/0.wav", "How?", "--model", tmp_path / "one", "--max-tokens", 2)
    assert asked.code == 0


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["none.jsonl"], 7, "none.jsonl: cannot be read", "manifest in JSON lines"),
        (["dev.jsonl"], 7, "dev.jsonl: no line is in split train", "leave split out"),
        (["deaf.jsonl"], 7, "bad.wav: not readable as audio", "convert it to WAV"),
        (["empty.jsonl"], 7, "empty.wav: holds no samples", "leave it out"),
        (["hour.jsonl"], 2, "hour.wav: speech, prompt and answer need 45", "cut the audio"),
        (["long.jsonl"], 2, "prompt 'Say yes.': speech, prompt and answer need", "leave the line out"),
        pytest.param(
            *(["wordless.jsonl"], 7, "a wanted text has no word: '!'", "leave it out"),
            marks=pytest.mark.skipif(find_spec("jiwer") is None, reason="the extra wavllm is not installed"),
        ),
        (["unsure.jsonl"], 7, "task verification: wanted answers are yes", "two are needed"),
        (["--weight", "emotions=1"], 2, "no instructions of task 'emotions'", "has both, emotion, text"),
        (["--weight", "emotion=0"], 2, "impossible weights", "one is more"),
        (["--weight", "emotion"], 2, "Invalid value for '--weight': 'emotion' is no TASK", "tune --help"),
        (["--weight", "emotion=nan"], 2, "Invalid value for '--weight'", "tune --help"),
        (["--weight", "text=1", "--weight", "text=2"], 2, "Invalid value for '--weight'", "tune --help"),
        (["--steps", "0"], 2, "Invalid value for '--steps'", "edgekit tune --help"),
        (["--seed", "-1"], 2, "Invalid value for '--seed'", "edgekit tune --help"),
        (["--learning-rate", "nan"], 2, "impossible schedule", "the learning rate is above 0"),
        (["--size", "huge"], 2, "--size huge: no such size, and no such file", "wavllm-7b or tiny"),
        (["--size", "tasks.jsonl"], 2, "--size tasks.jsonl: cannot be read as JSON", "SpeechLlmShape"),
        (["--size", "list.json"], 2, "--size list.json: holds no JSON object", "SpeechLlmShape"),
        (["--size", "odd.json"], 2, "whisper is 5", "transformers configuration"),
        (["--size", "blocks.json"], 2, "9 of Whisper's 2 blocks", "whisper_blocks is 1 to 2"),
        (["--size", "alone.json"], 2, "--wavlm: a model of these sizes has none", "decoder, whisper"),
        (["--size", "few.json"], 2, "DECODER/tokenizer.json: has 258 tokens", "name the decoder"),
        (["--whisper", "nowhere"], 5, "nowhere: no such file or folder", "hf download"),
        (["--decoder", "mute"], 5, "mute: no tokenizer.json here or beside the decoder", "copy the tokeniz"),
        (["--decoder", "WHISPER"], 5, "WHISPER: no tokenizer.json", "copy the tokenizer.json"),
        (["--from", "nowhere"], 5, "nowhere: no speech language model here", "docs/wavllm.md"),
        (["--out", "clips"], 2, "clips: holds files that edgekit did not write", "choose another --out"),
        (["--out", "/"], 2, "/: not a folder to write", "choose another --out"),
    ],
)
def test_what_is_refused_before_anything_is_loaded(
    edgekit, tasks, parts, sources, tmp_path, monkeypatch, words, code, message, hint
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "load_frozen", lambda *_: pytest.fail("loaded"))
    write_odd_inputs(tmp_path, sources)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    names = {"DECODER": str(sources["decoder"]), "WHISPER": str(sources["whisper"])}
    given = [names.get(word, word) for word in words]
    manifest = given.pop(0) if given[0].endswith(".jsonl") else tasks
    size = [] if "--from" in words else ["--size", "tiny"]
    ran = edgekit("tune", manifest, *size, *parts, "--steps", 2, "--out", "out", *given)
    said, advice = error(ran)
    for name, path in names.items():
        message = message.replace(name, path)
    assert (ran.code, message in said, hint in advice) == (code, True, True), (said, advice)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def write_odd_inputs(folder: Path, sources: dict[str, Path]) -> None:
    soundfile.write(folder / "hour.wav", np.zeros(3600 * 1000, np.float32), 1000)
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), 16000)
    (folder / "bad.wav").write_text("no audio")
    emotion, text = LINES[0], LINES[2]
    manifests = {
        "dev": [{**emotion, "split": "dev"}],
        "deaf": [emotion, {**emotion, "audio": "bad.wav"}],
        "empty": [emotion, {**emotion, "audio": "empty.wav", "split": "dev"}],
        "hour": [{**emotion, "audio": "hour.wav"}],
        "long": [{**text, "answer": "yes " * 600}],
        "wordless": [emotion, {**emotion, "task": "recognition", "answer": "!", "split": "dev"}],
        "unsure": [emotion, {**emotion, "task": "verification", "answer": "yes", "split": "dev"}],
    }
    for name, lines in manifests.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shape = TINY.to_dict()
    few = replace(TINY, decoder=replace(TINY.decoder, vocabulary=200)).to_dict()
    sizes = {"list": [], "alone": WHISPER_ALONE.to_dict(), "few": few, "odd": shape | {"whisper": 5}}
    sizes["blocks"] = shape | {"whisper_blocks": 9}
    for name, entries in sizes.items():
        (folder / f"{name}.json").write_text(json.dumps(entries))
    (folder / "mute").mkdir()
    shutil.copy(sources["decoder"] / "model.safetensors", folder / "mute")


def test_parts_that_are_not_given(edgekit, tasks, parts, first, tmp_path):
    words = ("--steps", 2, "--out", tmp_path / "o")
    said, hint = error(edgekit("tune", tasks, "--size", "tiny", *parts[:2], *words))
    assert (said, hint) == ("no whisper given", "say where it is: --whisper DIR")
    said, hint = error(edgekit("tune", tasks, "--from", first, *parts[:2], *words))
    assert (said, hint) == (f"no whisper given, and none lies in {first}", "say where it is: --whisper DIR")
    said, hint = error(edgekit("tune", tasks, "--from", first, "--size", "tiny", *parts, *words))
    assert (said, hint) == ("--size beside --from: the sizes are those of the folder", "leave out --size")
    (first / "adapters.safetensors").unlink()
    said, _ = error(edgekit("tune", tasks, "--from", first, *parts, *words))
    assert said == f"{first / 'adapters.safetensors'}: no such file"


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_weights_that_are_refused_leave_nothing_behind(edgekit, tasks, tmp_path):
    sources = write_frozen(tmp_path / "frozen")
    config = sources["whisper"] / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"encoder_attention_heads": 4}))
    parts = [word for part, path in sources.items() for word in (f"--{part}", path)]
    before = sorted(tmp_path.iterdir())
    ran = edgekit("tune", tasks, "--size", "tiny", *parts, *FIRST, "--out", tmp_path / "one")
    assert (ran.code, "encoder_attention_heads is 4" in error(ran)[0]) == (5, True)
    assert sorted(tmp_path.iterdir()) == before


def test_interrupted_training_goes_on_to_the_bit(edgekit, tasks, parts, tmp_path):
    words = ["tune", tasks, "--size", "tiny", *parts, "--steps", 60, "--batch", 2, "--out"]
    command = [sys.executable, "-m", "edgekit.cli", *map(str, [*words, tmp_path / "parts"])]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training"):
                os.kill(process.pid, signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait() == 130
    assert rest.endswith("interrupted; run the same command again: what was finished is kept\n")
    assert not (tmp_path / "parts").exists()
    checkpoint = tmp_path / ".parts.partial/.speech-llm.pt"
    assert 0 < torch.load(checkpoint)["step"] < 60
    # What was begun is not lost to a slip.
    said, hint = error(edgekit(*words, tmp_path / "parts", "--seed", 1))
    assert said == f"{tmp_path / 'parts'}: was begun with other settings or inputs (seed)"
    assert f"remove {tmp_path / '.parts.partial'}" in hint
    assert checkpoint.is_file()
    for name in ("parts", "whole"):
        assert edgekit(*words, tmp_path / name).code == 0
    found = [sorted((tmp_path / name).iterdir()) for name in ("parts", "whole")]
    assert len(found[0]) == 6
    for one, other in zip(*found, strict=True):
        assert (one.name, one.read_bytes()) == (other.name, other.read_bytes())


def test_two_processes_train_together_and_say_everything_once(edgekit, tasks, parts, tmp_path):
    words = ["tune", tasks, "--size", "tiny", *parts, "--steps", 5, "--batch", 3]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

    def run(*more: object) -> subprocess.CompletedProcess[str]:
        command = [*torchrun, "-m", "edgekit.cli", *map(str, [*words, *more])]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment())

    together = run("--out", tmp_path / "two")
    assert together.returncode == 0, together.stderr
    assert together.stdout.count("stage 1: 37,411 numbers trained") == 1
    assert together.stderr.count("training stage 1 1/5") == 1
    assert edgekit(*words, "--out", tmp_path / "one").code == 0
    losses = [[float(row["loss"]) for row in history(tmp_path / name)] for name in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
    refused = run("--out", tmp_path / "two", "--seed", 1)
    assert refused.stderr.count("was made with other settings or inputs (seed)") == 1
