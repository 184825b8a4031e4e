"""`edgekit ask`."""

import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from unit.edgekit.commands import error
from unit.wavllm_teacher.speech_llm.llm_tiny import talkative, write_tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.audio import read_audio
from edgekit.cli import asking
from wavllm_teacher.speech_llm.folder import load_assistant
from wavllm_teacher.speech_llm.generation import Decoding
from wavllm_teacher.speech_llm.prompts import Request
from wavllm_teacher.speech_llm.steps import STEPS, answer_steps

SHORT = ("--max-tokens", 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("llm"), talkative())


@pytest.fixture(scope="module")
def assistant(model):
    return load_assistant(model)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """8 kHz, stereo, 24 bit."""
    path = tmp_path_factory.mktemp("audio") / "call.flac"
    soundfile.write(path, np.stack([voice(1.0, 1)[::2], voice(1.0, 2)[::2]], axis=1), 8000, subtype="PCM_24")
    return path


def answer(assistant, clip, prompt, decoding):
    return assistant.answer([Request(prompt, read_audio(clip))], decoding)[0]


def test_the_answer_alone_goes_to_standard_output(edgekit, model, assistant, clip):
    ran = edgekit("ask", clip, "What is said?", "--model", model, *SHORT)
    assert (ran.code, ran.err) == (0, "loading the model\n")
    assert ran.out == answer(assistant, clip, "What is said?", Decoding(8)) + "\n"
    assert len(ran.out) > 1


def test_it_comes_piece_by_piece(edgekit, model, clip, monkeypatch):
    pieces = []
    monkeypatch.setattr(asking, "_shown", lambda piece, stream: pieces.append(piece) or piece)
    ran = edgekit("ask", clip, "What is said?", "--model", model, *SHORT)
    assert len(pieces) > 1
    assert "".join(pieces) + "\n" == ran.out


def test_sampling(edgekit, model, assistant, clip):
    words = ("ask", clip, "Who?", "--model", model, *SHORT, "--sample")
    assert edgekit(*words).out == answer(assistant, clip, "Who?", Decoding(8, 0.5)) + "\n"
    warm = edgekit(*words, "--temperature", 1.5, "--seed", 4).out
    assert warm == answer(assistant, clip, "Who?", Decoding(8, 1.5, seed=4)) + "\n"


def test_a_system_sentence_of_its_own(edgekit, model, assistant, clip):
    request = Request("Who?", read_audio(clip), "Listen.")
    ran = edgekit("ask", clip, "Who?", "--model", model, *SHORT, "--system", "Listen.")
    assert ran.out == assistant.answer([request], Decoding(8))[0] + "\n"
    assert ran.out != edgekit("ask", clip, "Who?", "--model", model, *SHORT).out


def test_as_json(edgekit, model, assistant, clip):
    ran = edgekit("ask", clip, "Who?", "--model", model, *SHORT, "--json")
    found = json.loads(ran.out)
    took_s = found["answer_s"]
    turn = {"prompt": "Who?", "answer": answer(assistant, clip, "Who?", Decoding(8)), "answer_s": took_s}
    assert found == {"audio": str(clip), "audio_s": 1.0, **turn, "steps": [turn]}
    assert 0 < took_s < 60


def test_steps(edgekit, model, assistant, clip):
    turns = answer_steps(assistant, STEPS["gist"], [read_audio(clip)], Decoding(8))[0]
    ran = edgekit("ask", clip, "--steps", "gist", "--model", model, *SHORT)
    assert ran.out == "".join(f"{turn.answer}\n" for turn in turns)
    for number, turn in enumerate(turns, 1):
        assert f"step {number} of 3: {turn.prompt}\n" in ran.err
    own = ("--step", "Who speaks?", "--step", "And {1}?", "So {previous}, {1}?")
    found = json.loads(edgekit("ask", clip, *own, "--model", model, *SHORT, "--json").out)
    first, second, last = found["steps"]
    assert second["prompt"] == f"And {first['answer']}?"
    assert last["prompt"] == found["prompt"] == f"So {second['answer']}, {first['answer']}?"
    assert found["answer"] == last["answer"]


def test_parts_elsewhere_and_bits(edgekit, model, clip, tmp_path):
    (tmp_path / "own").mkdir()
    for name in ("speech_llm.json", "adapters.safetensors", "tokenizer.json"):
        (tmp_path / "own" / name).write_bytes((model / name).read_bytes())
    parts = [word for part in ("decoder", "whisper", "wavlm") for word in (f"--{part}", model / part)]
    words = ("ask", clip, "Who?", "--model", tmp_path / "own", *SHORT)
    assert edgekit(*words, *parts).out == edgekit("ask", clip, "Who?", "--model", model, *SHORT).out
    assert edgekit(*words, *parts, "--bits", 8).code == 0
    assert error(edgekit(*words, *parts, "--bits", 4))[0] == "176 inputs are no whole groups of 64"
    assert error(edgekit(*words, *parts[:4]))[0] == f"{tmp_path / 'own/wavlm'}: no such file or folder"


def test_a_terminal_gets_no_control_characters(monkeypatch):
    stream = io.StringIO()
    assert asking._shown("a\x1b[2J\n", stream) == "a\x1b[2J\n"
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert asking._shown("é\x1b[2J\t\n\x07", stream) == "é\ufffd[2J\t\n\ufffd"


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["CLIP", "Who?"], 2, "no speech language model given", "add --model, a folder"),
        (["none.wav", "Who?", "--model", "MODEL"], 7, "none.wav: no such file", "check the path"),
        (["CLIP", " ", "--model", "MODEL"], 2, "the prompt is empty", "say what to do"),
        (["CLIP", "--model", "MODEL"], 2, "no prompt given", 'edgekit ask AUDIO "PROMPT"'),
        (
            ["CLIP", "--steps", "all", "--model", "MODEL"],
            2,
            "unknown steps 'all'",
            "translation, gist, emotion",
        ),
        (["CLIP", "Who?", "--steps", "gist"], 2, "--steps beside other prompts", "leave out PROMPT"),
        (["CLIP", "Who, {1}?", "--model", "MODEL"], 2, "step 1 refers to {1}: there is no", "{previous}"),
        (["CLIP", "Who?", "--model", "."], 5, ".: no speech language model here", "docs/wavllm.md"),
        (["CLIP", "W\udce9?"], 2, "the prompt is not valid UTF-8: 'W\\udce9?'", "UTF-8"),
        (["CLIP", "{1}?", "--step", "\udce9"], 2, "the prompt of step 1 is not valid UTF-8", "UTF-8"),
        (["CLIP", "Who?", "--system", "\udce9"], 2, "the system's sentence is not valid UTF-8", "UTF-8"),
        (["CLIP", "Who?", "--sample", "--seed", str(2**64)], 2, "impossible decoding", "seed in"),
        (["CLIP", "Who?", "--sample", "--temperature", "nan"], 2, "impossible decoding", "temperature"),
        (["CLIP", "Who?", "--seed", "1"], 2, "--temperature or --seed without --sample", "add --sample"),
        (["CLIP", "Who?", "--bits", "5"], 2, "Invalid value for '--bits'", "edgekit ask --help"),
        (["long.wav", "Who?", "--model", "MODEL"], 2, "long.wav: 200 s of speech need 2500", "cut the audio"),
        (["CLIP", 2100 * "?", "--model", "MODEL"], 2, "CLIP: speech and prompt need", "shorten the prompt"),
    ],
)
def test_errors(edgekit, model, clip, tmp_path, monkeypatch, words, code, message, hint):
    monkeypatch.chdir(tmp_path)
    soundfile.write("long.wav", np.zeros(200 * 1000, np.float32), 1000)
    real = {"CLIP": str(clip), "MODEL": str(model)}
    ran = edgekit("ask", *(real.get(word, word) for word in words))
    said, advice = error(ran)
    said = said.replace(str(clip), "CLIP")
    assert (ran.code, said.startswith(message)) == (code, True), said
    assert hint in advice


def test_ctrl_c(model, clip):
    words = ["ask", str(clip), "Who?", "--model", str(model), "--max-tokens", "100000"]
    command = [sys.executable, "-m", "edgekit.cli", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams) as process:
        # The first of the answer, long before its end.
        assert process.stdout.read(1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert re.search(rb"\ninterrupted; .*\n$", process.stderr.read())
