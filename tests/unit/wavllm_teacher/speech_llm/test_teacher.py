"""The speech language model as a teacher: its values, its folder, and how it labels."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from unit.wavllm_teacher.speech_llm import published
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, talkative, write_tiny
from unit.wavllm_teacher.speech_llm.test_tokens import write_tokenizer
from unit.wavllm_teacher.tiny import voice

from edgekit.cli import main
from edgekit.errors import ArtifactError, ConfigError
from edgekit.labels import read_labels
from edgekit.metrics import DIMENSIONS
from wavllm_teacher import train
from wavllm_teacher.registry import load_teacher, teacher_digest
from wavllm_teacher.speech_llm import sizes
from wavllm_teacher.speech_llm.choices import option_chances
from wavllm_teacher.speech_llm.folder import load_assistant
from wavllm_teacher.speech_llm.prompts import Request, render
from wavllm_teacher.speech_llm.teacher import PROMPTS, SCALE, write_teacher

CLIPS = [voice(0.5, 1), voice(1.1, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = write_tiny(tmp_path_factory.mktemp("llm"), talkative())
    write_teacher(made, "tiny-llm", "CC0-1.0")
    return made


@pytest.fixture(scope="module")
def teacher(folder):
    return load_teacher(str(folder))


def test_values_are_those_to_expect_of_the_numbers(teacher, folder):
    found = teacher.predict(CLIPS)
    assert found.shape == (2, 3)
    assert found.dtype == np.float32
    assistant = load_assistant(folder)
    for row, samples in zip(found, CLIPS, strict=True):
        for value, name in zip(row, DIMENSIONS, strict=True):
            numbers = [str(number) for number in range(1, 8)]
            chances = option_chances(assistant, Request(PROMPTS[name], samples), numbers)
            wanted = sum((int(n) - 1) / 6 * chance for n, chance in zip(numbers, chances, strict=True))
            assert value == pytest.approx(wanted, abs=1e-6)
    assert ((found > 0) & (found < 1)).all()
    assert len(np.unique(found)) == 6


def test_a_clip_alone_has_the_same_label(teacher):
    assert np.array_equal(teacher.predict(CLIPS)[1:], teacher.predict(CLIPS[1:]))
    assert teacher.predict([]).shape == (0, 3)


def test_the_scale_has_both_ends():
    assert list(SCALE) == list("1234567")
    assert (SCALE["1"], SCALE["4"], SCALE["7"]) == (0, 0.5, 1)
    assert set(PROMPTS) == set(DIMENSIONS)


def test_it_labels_and_is_compared(folder, compact_dir, tmp_path, capsys):
    audio = tmp_path / "audio"
    audio.mkdir()
    for seed in range(3):
        soundfile.write(audio / f"{seed}.wav", voice(0.5 + seed / 10, seed), 16000)
    for name, teacher in (("asked", folder), ("again", folder), ("heard", compact_dir)):
        assert main(["label", str(audio), "--teacher", str(teacher), "--out", str(tmp_path / name)]) == 0
    labels = read_labels(tmp_path / "asked")
    assert labels.teacher == ["tiny-llm"] * 3
    assert ((labels.adv >= 0) & (labels.adv <= 1)).all()
    assert labels.digest == read_labels(tmp_path / "again").digest
    record = json.loads((tmp_path / "asked/teacher.json").read_text())
    assert (record["name"], record["licence"]) == ("tiny-llm", "CC0-1.0")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "asked"), "--reference", str(tmp_path / "heard"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["teachers"], found["reference_kind"]) == (["tiny-llm"], "labels of compact")
    apart = np.abs(labels.adv - read_labels(tmp_path / "heard").adv).mean(axis=0)
    assert found["groups"][0]["figures"]["mae"]["valence"]["value"] == pytest.approx(apart[2], rel=1e-5)


def test_prompts_of_its_own(folder, tmp_path, teacher):
    own = shutil.copytree(folder, tmp_path / "own")
    write_teacher(own, "tiny-llm", "CC0-1.0", {**PROMPTS, "valence": "Pleasant?"})
    found = load_teacher(str(own))
    assert found.digest != teacher.digest
    changed = found.predict(CLIPS) != teacher.predict(CLIPS)
    assert changed.tolist() == [[False, False, True]] * 2
    write_teacher(own, "tiny-llm", "CC0-1.0", {"valence": "Pleasant?"})
    with pytest.raises(ArtifactError, match="prompts are to name arousal, dominance, valence"):
        load_teacher(str(own))


def test_a_prompt_that_leaves_no_room_is_refused_before_anything_is_labelled(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    # Tokens are bytes. 12 s take 151 positions, the beginning one, a number and the end behind it two.
    most = 2048 - 151 - 1 - 2 - len("".join(render(Request("?", CLIPS[0])))) + 1
    write_teacher(own, "tiny-llm", "CC0-1.0", {**PROMPTS, "valence": most * "?"})
    load_teacher(str(own))
    write_teacher(own, "tiny-llm", "CC0-1.0", {**PROMPTS, "valence": (most + 1) * "?"})
    message = r"teacher\.json: 12 s and the prompt of valence: speech and prompt need 2049 positions, the"
    with pytest.raises(ConfigError, match=message):
        load_teacher(str(own))


def test_a_system_sentence_of_its_own(folder, tmp_path, teacher):
    own = shutil.copytree(folder, tmp_path / "own")
    facts = json.loads((own / "teacher.json").read_text())
    (own / "teacher.json").write_text(json.dumps({**facts, "system": "Listen."}))
    assert (load_teacher(str(own)).predict(CLIPS) != teacher.predict(CLIPS)).all()
    for wrong in (
        {"system": 5},
        {"prompts": {**PROMPTS, "valence": 5}},
        {"prompts": {**PROMPTS, "arousal": " "}},
    ):
        (own / "teacher.json").write_text(json.dumps({**facts, **wrong}))
        with pytest.raises(ArtifactError, match="prompts and system are texts"):
            load_teacher(str(own))
    (own / "teacher.json").write_text(json.dumps({**facts, "promts": PROMPTS}))
    with pytest.raises(ArtifactError, match="unknown entry promts; the entries are kind, name"):
        load_teacher(str(own))


@pytest.mark.parametrize("name", ["tokenizer.json", "adapters.safetensors", "wavlm/model.safetensors"])
def test_every_file_counts(folder, tmp_path, teacher, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content + b" ")
    assert teacher_digest(str(copy)) != teacher.digest
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=name.split("/")[0]):
        teacher_digest(str(copy))


def test_the_published_one_has_to_be_made(capsys):
    with pytest.raises(ConfigError, match="wavllm: has to be made first") as error:
        load_teacher("wavllm")
    assert "python -m wavllm_teacher.train wavllm" in error.value.hint


def test_it_is_made_of_published_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sizes.SIZES, "wavllm-7b", TINY)
    for name in ("llama", "whisper", "wavlm"):
        (tmp_path / name).mkdir()
    torch.save(published.llama(TINY), tmp_path / "llama/consolidated.00.pth")
    torch.save({"model_state_dict": published.openai_whisper(TINY)}, tmp_path / "whisper.pt")
    torch.save({"cfg": {}, "model": published.microsoft_wavlm(TINY)}, tmp_path / "wavlm.pt")
    torch.save({"model": published.adapters(TINY)}, tmp_path / "wavllm.pt")
    words = ["wavllm", "--published", str(tmp_path / "wavllm.pt"), "--decoder", str(tmp_path / "llama")]
    words += ["--whisper", str(tmp_path / "whisper.pt"), "--wavlm", str(tmp_path / "wavlm.pt")]
    words += ["--out", str(tmp_path / "made")]
    assert train.main(words) == 5
    assert "copy the tokenizer.json of the decoder" in capsys.readouterr().err
    write_tokenizer(tmp_path / "llama")
    assert train.main(words) == 0
    found = load_teacher(str(tmp_path / "made"))
    assert (found.name, found.licence) == ("wavllm", "that of its parts")
