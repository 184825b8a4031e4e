"""Tasks judged by their own figures: against the model's own answers, and on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console
from unit.wavllm_teacher.speech_llm.llm_tiny import talkative, write_tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.cli import main
from edgekit.errors import AudioError
from wavllm_teacher.speech_llm import scoring
from wavllm_teacher.speech_llm.choices import option_chances
from wavllm_teacher.speech_llm.evaluating import LeftOut, TaskResult, answers_of_verification, evaluate_tasks
from wavllm_teacher.speech_llm.figures import PAPER, TITLES, render, to_dict
from wavllm_teacher.speech_llm.folder import load_assistant
from wavllm_teacher.speech_llm.generation import Assistant, Decoding
from wavllm_teacher.speech_llm.instructions import Instruction, read_manifest
from wavllm_teacher.speech_llm.prompts import Request, tokenise

SHORT = Decoding(most_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("llm"), talkative())


@pytest.fixture(scope="module")
def assistant(folder) -> Assistant:
    return load_assistant(folder)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    made = tmp_path_factory.mktemp("audio")
    for seed in range(4):
        soundfile.write(made / f"{seed}.wav", voice(0.3 + seed / 10, seed), 16000)
    return [made / f"{seed}.wav" for seed in range(4)]


def answered(assistant, audio, prompt) -> list[str]:
    return [
        assistant.answer([Request(prompt, soundfile.read(a, dtype="float32")[0])], SHORT)[0] for a in audio
    ]


def values(results) -> dict[str, dict[str, float | None]]:
    return {result.task: {f.metric: f.value for f in result.figures} for result in results}


def test_figures_are_those_of_the_answers(assistant, audio):
    said = answered(assistant, audio, "How?")
    assert len(set(map(scoring.plain, said))) == 4
    # Two of four as the model answers, two as it does not.
    wanted = [*said[:2], "sad", "sad"]
    lines = [Instruction("emotion", "How?", want, clip) for want, clip in zip(wanted, audio, strict=True)]
    lines += [
        Instruction("multiple", "How?", f"{want}", clip) for want, clip in zip(said, audio, strict=True)
    ]
    seen = []
    found = evaluate_tasks(assistant, lines, SHORT, lambda *step: seen.append(step))
    assert [(result.task, result.items) for result in found] == [("emotion", 4), ("multiple", 4)]
    assert values(found)["emotion"] == {"accuracy": 0.5, "unweighted_recall": pytest.approx(2 / 3)}
    everything = {"instruction_following": 1, "part_accuracy": 1, "accuracy": 1}
    assert values(found)["multiple"] == everything
    assert seen == [("emotion", 4, 4), ("multiple", 4, 4)]


def test_transcripts_and_translations(assistant, audio):
    pytest.importorskip("jiwer", reason="the extra wavllm is not installed")
    pytest.importorskip("sacrebleu", reason="the extra wavllm is not installed")
    said = answered(assistant, audio, "How?")
    tasks = ("recognition", "translation")
    lines = [
        Instruction(task, "How?", f"{answer} word", clip)
        for task in tasks
        for answer, clip in zip(said, audio, strict=True)
    ]
    wanted = [f"{answer} word" for answer in said]
    assert values(evaluate_tasks(assistant, lines, SHORT)) == {
        "recognition": {"word_error_rate": scoring.word_error_rate(said, wanted)},
        "translation": {"bleu": scoring.bleu(said, wanted)[0]},
    }


def test_verification_is_decided_by_chances(assistant, audio):
    scores = [
        option_chances(assistant, Request("Same?", soundfile.read(a, dtype="float32")[0]), ["no", "yes"])[1]
        for a in audio
    ]
    low = sorted(scores)[1]
    # All but the lowest are right: no error at some threshold, whatever the chances are.
    answers = ["yes" if score >= low else "no" for score in scores]
    lines = [Instruction("verification", "Same?", w, a) for w, a in zip(answers, audio, strict=True)]
    found = values(evaluate_tasks(assistant, lines))["verification"]
    right = [(score > 0.5) == (answer == "yes") for score, answer in zip(scores, answers, strict=True)]
    assert sum(right) != 2
    assert found == {"accuracy": sum(right) / 4, "equal_error_rate": 0}
    with pytest.raises(AudioError, match="wanted answers are yes"):
        evaluate_tasks(assistant, [Instruction("verification", "Same?", "yes", audio[0])])


def test_spellings_of_a_verification_are_one_answer(assistant, audio):
    def figures(*answers):
        lines = [Instruction("verification", "Same?", w, a) for w, a in zip(answers, audio, strict=True)]
        return evaluate_tasks(assistant, lines)[0].figures

    # The most frequent spelling is the one whose chances count; of equals, the first in the alphabet.
    assert figures("yes", "Yes.", "no", "yes") == figures("yes", "yes", "no", "yes")
    assert figures("Yes", "yes ", "No!", '"no"') == figures("Yes", "Yes", '"no"', '"no"')
    assert figures("Yes", "Yes", "no", "no")[0].how.startswith("chances of 'Yes' against 'no'")
    with pytest.raises(AudioError, match="wanted answers are Maybe, no, YES"):
        figures("yes", "no", "Maybe", "YES")


def test_options_of_a_verification_are_what_was_wanted_without_spaces_around():
    wanted = ["no\n", " yes", "\tyes", "Yes"]
    lines = [Instruction("verification", "Same?", answer) for answer in wanted]
    assert answers_of_verification(lines) == ["no", "yes"]


def test_a_verification_needs_room_for_its_answers(assistant, audio):
    """What is asked fits alone, but neither with an answer nor with its end."""
    room = assistant.model.shape.decoder.positions
    prompt = tokenise(Request("?"), assistant.tokenizer)
    fits = "?" * (room + 1 - len(prompt.before) - len(prompt.after))
    assistant.require_room(Request(fits))
    good = [Instruction("verification", "Same?", answer, audio[0]) for answer in ("yes", "no")]
    (found,) = evaluate_tasks(assistant, [Instruction("verification", fits, "no"), *good])
    assert found.items == 2
    assert [left.reason for left in found.left_out] == [
        f"speech and prompt need {room + len('yes') + 1} positions, the decoder has {room}"
    ]


def write_tasks(folder, audio):
    lines = [
        {"task": "emotion", "audio": str(audio[0]), "prompt": "How?", "answer": "sad", "split": "test"},
        {"task": "multiple", "prompt": "Say it twice.", "answer": "it; it", "split": "test"},
        {"task": "text", "prompt": "Say yes.", "answer": "yes", "split": "dev"},
    ]
    (folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "tasks.jsonl"


def test_on_the_command_line(folder, assistant, audio, tmp_path, capsys):
    tasks = write_tasks(tmp_path, audio)
    assert main(["evaluate", str(tasks), "--model", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    test = [line for line in read_manifest(tasks) if line.split == "test"]
    wanted = values(evaluate_tasks(assistant, test))
    shown = {t: {m: f["value"] for m, f in task["figures"].items()} for t, task in found["tasks"].items()}
    assert (found["schema"], shown) == (1, wanted)
    paper = found["tasks"]["multiple"]["figures"]["instruction_following"]["paper"]
    assert paper == [{"value": 0.925, "on": "test set not known", "mark": "second-hand"}]
    assert main(["evaluate", str(tasks), "--model", str(folder), "--split", "dev"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["task", "items", "figure", "measured", "WavLLM"]
    assert lines[1].split() == ["text", "1", "accuracy", "0.0", "%"]
    assert main(["evaluate", str(tasks), "--model", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "second-hand" in "".join(lines)
    assert max(map(len, lines)) <= 80


@pytest.fixture
def unusable(tmp_path) -> dict[str, str]:
    """Clips that cannot be asked about, and why."""
    soundfile.write(tmp_path / "long.wav", np.zeros(170 * 16_000, np.float32), 16_000)
    (tmp_path / "text.wav").write_text("no audio")
    return {
        str(tmp_path / "long.wav"): "170 s of speech need 2125 positions, the decoder has 2048",
        str(tmp_path / "text.wav"): "not readable as audio (Format not recognised)",
    }


@pytest.mark.parametrize("task", ["emotion", "verification"])
def test_what_cannot_be_asked_is_left_out_and_named(assistant, audio, unusable, task):
    good = [Instruction(task, "Same?", answer, audio[0]) for answer in ("yes", "no")]
    bad = [Instruction(task, "Same?", "no", Path(file)) for file in unusable]
    wordy = Instruction(task, 3000 * "?", "no")
    (found,) = evaluate_tasks(assistant, [bad[0], good[0], wordy, bad[1], good[1]], SHORT)
    (alone,) = evaluate_tasks(assistant, good, SHORT)
    assert (found.items, found.figures) == (2, alone.figures)
    assert {left.item: left.reason for left in found.left_out if left.item in unusable} == unusable
    assert f"prompt {40 * '?'!r}" in [left.item for left in found.left_out]
    assert len(found.left_out) == 3


def test_a_task_of_which_nothing_can_be_asked_costs_no_other(folder, assistant, audio, unusable, capsys):
    bad = [Instruction("emotion", "How?", "sad", Path(file)) for file in unusable]
    with pytest.raises(
        AudioError, match=r"none of 2 instructions can be asked; .*long\.wav: 170 s of speech"
    ):
        evaluate_tasks(assistant, bad)
    found = evaluate_tasks(assistant, [*bad, Instruction("text", "Say yes.", "yes")], SHORT)
    assert [(result.task, result.items, len(result.left_out)) for result in found] == [
        ("emotion", 0, 2),
        ("text", 1, 0),
    ]
    told = to_dict(found)["tasks"]
    assert told["emotion"]["left_out"] == [{"item": f, "reason": why} for f, why in unusable.items()]
    assert (told["emotion"]["figures"], told["text"]["left_out"]) == ({}, [])
    Console(width=300).print(render(found))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["text", "1", "accuracy", "0.0", "%"]
    assert lines[3].startswith("left out: 2 of 2 of emotion, the first: /")
    assert lines[3].endswith("long.wav: 170 s of speech need 2125 positions, the decoder has 2048")
    found = [TaskResult("text", 0, (), (LeftOut("\udce9.wav", "no such file"),))]
    Console(width=300).print(render(found))
    assert "left out: 1 of 1 of text: \\udce9.wav: no such file" in capsys.readouterr().out


def test_a_verification_without_two_answers_fails_before_anything_is_asked(assistant, audio, monkeypatch):
    monkeypatch.setattr(Assistant, "answer", lambda *_: pytest.fail("asked"))
    lines = [Instruction("emotion", "How?", "sad", audio[0]), Instruction("verification", "Same?", "yes")]
    with pytest.raises(AudioError, match="wanted answers are yes"):
        evaluate_tasks(assistant, lines)


def test_a_transcript_without_a_word_fails_before_anything_is_asked(assistant, audio, monkeypatch):
    pytest.importorskip("jiwer")
    monkeypatch.setattr(Assistant, "answer", lambda *_: pytest.fail("asked"))
    lines = [Instruction("emotion", "How?", "sad", audio[0]), Instruction("recognition", "What?", "...")]
    with pytest.raises(AudioError, match="no word"):
        evaluate_tasks(assistant, lines)


def test_errors_on_the_command_line(folder, audio, tmp_path, capsys):
    tasks = write_tasks(tmp_path, audio)
    assert main(["evaluate", str(tasks), "--model", str(folder), "--split", "train"]) == 2
    assert "no instruction is in split train\nhint: use one of dev, test" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "none.jsonl"), "--model", str(folder)]) == 7
    assert "none.jsonl: cannot be read" in capsys.readouterr().err


def test_the_figures_of_the_paper_have_a_place():
    assert {metric for _, metric in PAPER} <= set(TITLES)
    assert {paper.mark for known in PAPER.values() for paper in known} == {"second-hand", "unverified"}
