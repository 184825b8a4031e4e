"""Training: its loss against each answer by itself, what it changes, how it resumes."""

import math
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, WHISPER_ALONE, tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.device import Device
from wavllm_teacher.speech_llm.curriculum import (
    Hearing,
    Schedule,
    Trainer,
    answer_loss,
    answers_to,
    exact_share,
)
from wavllm_teacher.speech_llm.instructions import Instruction, Mixture
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

TOKENIZER = ByteTokenizer()
SHAPE = replace(TINY, lora=replace(TINY.lora, dropout=0.2))


@pytest.fixture(scope="module")
def instructions(tmp_path_factory) -> list[Instruction]:
    folder = tmp_path_factory.mktemp("audio")
    for seed in range(2):
        soundfile.write(folder / f"{seed}.wav", voice(0.4, seed), 16000)
    return [
        Instruction("emotion", "How?", "sad", folder / "0.wav"),
        Instruction("emotion", "How does the speaker feel?", "very happy", folder / "1.wav"),
        Instruction("text", "Say yes.", "yes", system="Listen."),
    ]


def trainer(instructions, folder, stage=2, **changes) -> Trainer:
    schedule = Schedule(**{"steps": 6, "batch": 3, "checkpoint_every": 2, **changes})
    return Trainer(tiny(stage, SHAPE), TOKENIZER, Mixture(instructions), schedule, folder)


@torch.no_grad()
def test_the_loss_is_that_of_each_answer_alone(instructions):
    model = tiny(2)
    hearing = Hearing(model, 10**9)
    heard = [hearing(found.audio) for found in instructions]
    parts, prompts = [], []
    for found, clip in zip(instructions, heard, strict=True):
        request = Request(found.prompt, None if clip is None else voice(0.1, 0), found.system)
        prompts.append(tokenise(request, TOKENIZER))
        # One token at a time, as generation would meet it: nothing can look ahead.
        for position, token in enumerate([*TOKENIZER.encode(found.answer), TOKENIZER.end]):
            before = TOKENIZER.encode(found.answer)[:position]
            logits = model(model.sequences(prompts[-1:], [clip], [before]), last=1)[0, -1]
            parts.append(-torch.log_softmax(logits, 0)[token])
    answers = [[*TOKENIZER.encode(found.answer), TOKENIZER.end] for found in instructions]
    torch.testing.assert_close(
        answer_loss(model, prompts, heard, answers), torch.stack(parts).sum(), atol=1e-5, rtol=1e-5
    )


def test_the_losses_of_training_are_means_over_tokens(instructions, tmp_path):
    run = trainer(instructions, tmp_path, steps=1, batch=1)
    short = run._learn(instructions[2:], 0)
    assert short == pytest.approx(run._learn(instructions[2:] * 5, 0), rel=0.2)
    with torch.no_grad():
        prompt = tokenise(Request("Say yes.", system="Listen."), TOKENIZER)
        answer = [*TOKENIZER.encode("yes"), TOKENIZER.end]
        run.model.train(mode=False)
        wanted = answer_loss(run.model, [prompt], [None], [answer]) / 4
    # Dropout is in the former alone.
    assert short == pytest.approx(float(wanted), rel=0.2)


def test_adapters_alone_change_and_the_loss_falls(instructions, tmp_path):
    run = trainer(instructions, tmp_path, steps=30, learning_rate=3e-3)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    losses = run.run().losses
    # The frozen decoder is random: how far corrections can take it is not the question here.
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[name]) is (name not in run.trained), name
    shares = exact_share(instructions, answers_to(run.model, TOKENIZER, instructions))
    assert set(shares) == {"emotion", "text"}


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_interrupted_training_is_the_same(instructions, tmp_path, stopped_at):
    whole = trainer(instructions, tmp_path / "whole")
    whole.run()

    def stop(what: str, done: int, total: int) -> None:
        if done == stopped_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(instructions, tmp_path / "parts").run(stop)
    resumed = trainer(instructions, tmp_path / "parts")
    # What else is random in the process has no say.
    torch.manual_seed(stopped_at)
    seen = []
    state = resumed.run(lambda what, done, total: seen.append(done))
    assert seen == list(range(stopped_at + 1, 7))
    assert state.losses == whole.state.losses
    for name, value in whole.trained.items():
        assert torch.equal(resumed.trained[name], value), name


def test_a_signal_stops_behind_its_step_and_a_second_one_does_not_break_what_is_saved(
    instructions, tmp_path, monkeypatch
):
    run = trainer(instructions, tmp_path)
    advance, save = run._advance, run._save

    def interrupted() -> None:
        if run.state.step == 2:
            signal.raise_signal(signal.SIGINT)
        advance()

    def interrupted_again() -> None:
        if run.state.step == 3:
            signal.raise_signal(signal.SIGINT)
        save()

    monkeypatch.setattr(run, "_advance", interrupted)
    monkeypatch.setattr(run, "_save", interrupted_again)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert torch.load(run.checkpoint)["step"] == 3


def test_a_signal_while_the_end_is_saved(instructions, tmp_path, monkeypatch):
    run = trainer(instructions, tmp_path, steps=1)
    save = run._save
    monkeypatch.setattr(run, "_save", lambda: (signal.raise_signal(signal.SIGINT), save()))
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert torch.load(run.checkpoint)["step"] == 1


def test_computing_blocks_again_changes_nothing(instructions, tmp_path):
    losses = [
        trainer(instructions, tmp_path / str(again), recompute=again, steps=3).run().losses
        for again in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_step_is_adamw_with_the_schedules_rate_on_a_short_gradient(instructions, tmp_path):
    """Against the optimizer by hand: the first step's rate, a gradient cut to length, decay."""
    run = trainer(
        instructions, tmp_path, steps=40, learning_rate=0.1, weight_decay=0.5, largest_gradient=1e-3
    )
    before = {name: value.detach().clone() for name, value in run.trained.items()}
    run._advance()
    assert run.schedule.rate(0) == 0.05
    gradients = {name: value.grad for name, value in run.trained.items() if value.grad is not None}
    length = torch.stack([grad.norm() for grad in gradients.values()]).norm()
    assert length.item() == pytest.approx(1e-3, rel=1e-3)
    for name, grad in gradients.items():
        wanted = before[name] * (1 - 0.05 * 0.5) - 0.05 * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(run.trained[name].detach(), wanted, atol=1e-5, rtol=1e-4)


def test_dropout_acts_in_training_alone(instructions, tmp_path):
    run = trainer(instructions, tmp_path)
    losses = {run._learn(instructions, seed) for seed in range(3)}
    assert len(losses) == 3
    run.model.train(mode=False)
    assert not run.model.decoder.training


def test_blocks_are_computed_again_and_products_are_in_bfloat16(instructions, tmp_path):
    """What a GPU has: blocks are computed again, seen by how often; precision, by what one gives."""
    seen: dict[bool, list[torch.dtype]] = {False: [], True: []}
    for again in (False, True):
        schedule = Schedule(steps=1, batch=2, recompute=again)
        device = Device("cpu", "bfloat16")
        run = Trainer(
            tiny(1, SHAPE), TOKENIZER, Mixture(instructions), schedule, tmp_path / str(again), device
        )
        projection = run.model.decoder.llama.model.layers[1].mlp.up_proj
        projection.register_forward_hook(lambda _m, _i, out, again=again: seen[again].append(out.dtype))
        run.run()
    assert seen[False] == [torch.bfloat16]
    assert seen[True] == [torch.bfloat16] * 2


def test_stage_one_trains_too(instructions, tmp_path):
    assert len(trainer(instructions, tmp_path, stage=1, steps=2).run().losses) == 2


def test_checkpoints_of_another_training(instructions, tmp_path):
    trainer(instructions, tmp_path, steps=2).run()
    with pytest.raises(ArtifactError, match="another training"):
        trainer(instructions, tmp_path, steps=2, seed=1).run()
    with pytest.raises(ArtifactError, match="another training"):
        trainer(instructions, tmp_path, steps=2, stage=1).run()
    for other in ({"learning_rate": 1e-5}, {"weight_decay": 0.1}, {"largest_gradient": 2.0}):
        with pytest.raises(ArtifactError, match="another training"):
            trainer(instructions, tmp_path, steps=2, **other).run()
    for others in (instructions[:2], instructions[::-1]):
        with pytest.raises(ArtifactError, match="another training"):
            trainer(others, tmp_path, steps=2).run()
    weighted = trainer(instructions, tmp_path, steps=2)
    weighted.mixture = Mixture(instructions, {"emotion": 1, "text": 1})
    with pytest.raises(ArtifactError, match="another training"):
        weighted.run()
    other_frozen = trainer(instructions, tmp_path, steps=2)
    with torch.no_grad():
        other_frozen.model.decoder.llama.lm_head.weight += 1
    with pytest.raises(ArtifactError, match="another training"):
        other_frozen.run()
    # How often it is saved, and what is computed again, changes no result.
    trainer(instructions, tmp_path, steps=2, checkpoint_every=1, recompute=True).run()
    (tmp_path / ".speech-llm.pt").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="damaged") as error:
        trainer(instructions, tmp_path, steps=2).run()
    assert "remove" in error.value.hint


def test_clips_of_one_name_are_told_apart_wherever_their_corpus_lies(instructions, tmp_path):
    def corpus(folder, speakers="ab") -> list[Instruction]:
        for speaker in speakers:
            (folder / speaker).mkdir(parents=True, exist_ok=True)
            shutil.copy(instructions[0].audio, folder / speaker / "1.wav")
        answers = zip(speakers, ("sad", "calm"), strict=True)
        return [Instruction("emotion", "How?", answer, folder / name / "1.wav") for name, answer in answers]

    trainer(corpus(tmp_path / "here"), tmp_path, steps=1).run()
    trainer(corpus(tmp_path / "moved"), tmp_path, steps=1).run()
    with pytest.raises(ArtifactError, match="another training"):
        trainer(corpus(tmp_path / "here", "ba"), tmp_path, steps=1).run()


def test_a_loss_that_is_no_number_ends_the_training(instructions, tmp_path):
    run = trainer(instructions, tmp_path, learning_rate=1e30)
    with pytest.raises(ConfigError, match=r"step \d: the loss is nan") as error:
        run.run()
    assert "lower the learning rate" in error.value.hint
    # A gradient alone is enough, and nothing is learned from it.
    run = trainer(instructions, tmp_path / "other", steps=2)
    first = next(iter(run.trained.values()))
    first.register_hook(lambda gradient: gradient * torch.inf)
    before = {name: value.clone() for name, value in run.trained.items()}
    with pytest.raises(ConfigError, match=r"step 1: the loss is \d"):
        run.run()
    assert all(torch.equal(run.trained[name], value) for name, value in before.items())


def test_without_wavlm_it_trains_too(instructions, tmp_path):
    schedule = Schedule(steps=30, batch=3, learning_rate=3e-3)
    model = tiny(1, WHISPER_ALONE)
    losses = Trainer(model, TOKENIZER, Mixture(instructions), schedule, tmp_path).run().losses
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("shape", [TINY, WHISPER_ALONE], ids=["both", "alone"])
def test_hearing_forgets_what_is_longest_unused(instructions, shape):
    model = tiny(1, shape)
    room = Hearing(model, 1)
    first, second = instructions[0].audio, instructions[1].audio
    heard = room(first)
    assert room(first) is heard
    room(second)
    assert room(first) is not heard
    plenty = Hearing(model, 10**9)
    heard = plenty(first)
    plenty(second)
    assert plenty(first) is heard
    assert plenty(None) is None


def test_what_is_too_long_is_named(instructions, tmp_path):
    long = Instruction("text", "Say " + "yes " * 600, "yes")
    with pytest.raises(ConfigError, match=r"prompt 'Say yes yes .*need \d+ positions, the decoder has 2048"):
        trainer([long], tmp_path, steps=1).run()
    spoken = Instruction("emotion", long.prompt, "sad", instructions[0].audio)
    with pytest.raises(ConfigError, match=r"0\.wav: speech and prompt need"):
        trainer([long, spoken], tmp_path, steps=1, batch=20).run()


def test_two_hours_are_refused_before_they_are_heard(instructions, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.wav", np.zeros(7200 * 1000, np.float32), 1000)
    long = Instruction("emotion", "How?", "sad", tmp_path / "long.wav")
    run = trainer([long], tmp_path, steps=1)
    monkeypatch.setattr(run.model.ears, "forward", lambda samples: pytest.fail("heard"))
    with pytest.raises(
        ConfigError, match=r"long\.wav: 7200 s of speech need 90000 positions, the decoder has"
    ):
        run.run()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}])
def test_impossible_schedules(wrong):
    with pytest.raises(ConfigError, match="impossible schedule"):
        Schedule(**{"steps": 1, **wrong})


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_learning_rates_that_are_no_numbers(rate):
    with pytest.raises(ConfigError, match="impossible schedule"):
        Schedule(1, learning_rate=rate)
