"""What WavLLM takes ready-made and a tiny model has to make: encoders that hear, a decoder that speaks.

The encoders learn to tell how training clips sound around each frame: their spectrum, how periodic, how high
and how bright they are. No label takes part. The decoder learns texts in the form of the prompts: notes about
sounds, each with one question, to be repeated, or to be listed ("pitch; count?"); no wording of a combined
instruction is among them. Both are frozen afterwards.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from benchmarks.wavllm import tasks
from benchmarks.wavllm.sounds import Samples
from wavllm_teacher.encoder import HOP, SAMPLES_PER_FRAME, WINDOW_SAMPLES, whisper_log_mel
from wavllm_teacher.speech_llm.decoder import AdaptedDecoder
from wavllm_teacher.speech_llm.hearing import Ears
from wavllm_teacher.speech_llm.instructions import Instruction
from wavllm_teacher.speech_llm.prompts import Request, render
from wavllm_teacher.speech_llm.tokens import ByteTokenizer

ALONE, REPEATED, LISTED = 0.2, 0.1, 0.3
"""Shares of texts without a note where speech stands, of notes to be repeated, and of notes of which two
words are to be listed; the others have one question."""
BANDS = 40
FRAME_SAMPLES = 640
MOST_LAG, DIP = 130, 0.3
"""The lowest pitch is 123 Hz; periods are looked for where the autocorrelation has fallen to this before."""
QUALITIES = 4
AROUND = (-4, 0, 4)
"""Frames of 20 ms whose spectrum each frame has to tell."""


def spectrum(samples: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return the (T, BANDS) log-mel spectrum of (N,) samples in frames of an encoder, T = N / 320."""
    mel = whisper_log_mel(samples, filters)
    per_band, per_frame = len(mel) // BANDS, SAMPLES_PER_FRAME // HOP
    return mel.reshape(BANDS, per_band, -1, per_frame).mean(dim=(1, 3)).T


def qualities(samples: torch.Tensor) -> torch.Tensor:
    """Return (T, QUALITIES) of (N,) samples: level, periodicity, height and brightness of each frame.

    They are what a signal tells by itself: its power, the largest autocorrelation beyond the first dip, the
    lag that has it, and the mean frequency; each is brought to about [-2, 2].
    """
    padded = F.pad(samples, (0, FRAME_SAMPLES - SAMPLES_PER_FRAME))
    frames = padded.unfold(0, FRAME_SAMPLES, SAMPLES_PER_FRAME) * torch.hann_window(FRAME_SAMPLES)
    power = torch.fft.rfft(frames, 2 * FRAME_SAMPLES).abs() ** 2 + 1e-9
    lags = torch.fft.irfft(power)[:, :MOST_LAG]
    lags = lags / lags[:, :1]
    lags = lags * ((lags < DIP).cumsum(dim=1) > 0)
    # The shortest lag that is nearly the best: multiples of a period are periods too.
    best = lags.amax(dim=1, keepdim=True)
    periodic = best[:, 0]
    lag = (lags >= 0.85 * best).float().argmax(dim=1).clamp(min=1)
    centre = (power @ torch.arange(power.shape[1]).float()) / power.sum(dim=1)
    # Noise has no height worth telling.
    height = 5 - torch.log2(lag)
    level = torch.log10(power.mean(dim=1)) / 2
    return torch.stack([level, 2 * periodic, periodic * height, torch.log2(centre) - 6], dim=1)


def around(frames: torch.Tensor) -> torch.Tensor:
    """Return (T, AROUND x BANDS) of (T, BANDS): what stands around each frame, the ends repeated."""
    index = torch.arange(len(frames))
    return torch.cat([frames[(index + by).clamp(0, len(frames) - 1)] for by in AROUND], dim=1)


def learn(module: nn.Module, losses: Iterable[torch.Tensor], steps: int, rate: float) -> list[float]:
    """Train what of a module wants gradients on a stream of losses, and return them."""
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    seen = []
    for loss in itertools.islice(losses, steps):
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        seen.append(loss.item())
    return seen


def train_encoders(ears: Ears, clips: Sequence[Samples], steps: int, seed: int) -> list[float]:
    """Train both encoders to tell the spectrum around each frame; they are frozen again afterwards.

    Args:
        ears: The encoders, in place.
        clips: What to learn from.
        steps: Optimizer steps.
        seed: Of what each step hears.

    Returns:
        The loss of each step.
    """
    assert ears.wavlm is not None  # the tiny model has both
    told = (BANDS + QUALITIES) * len(AROUND)
    heads = nn.ModuleList(nn.Linear(encoder.width, told) for encoder in (ears.whisper, ears.wavlm))
    both = nn.ModuleList([ears.requires_grad_(True), heads])
    losses = learn(both, _spectrum_losses(ears, heads, clips, np.random.default_rng(seed)), steps, 3e-3)
    ears.requires_grad_(False)
    return losses


def _spectrum_losses(
    ears: Ears, heads: nn.ModuleList, clips: Sequence[Samples], rng: np.random.Generator
) -> Iterator[torch.Tensor]:
    filters, wavlm = ears.whisper.filters, ears.wavlm
    assert wavlm is not None
    while True:
        windows = [_window(clips, rng, alone=alone) for alone in (False, True, True)]
        mel = torch.stack([whisper_log_mel(samples, filters) for samples, _ in windows])
        states = heads[0](ears.whisper.encoder(mel).last_hidden_state)
        parts = [
            _distance(row[:frames], _told(samples, filters)[:frames])
            for row, (samples, frames) in zip(states, windows, strict=True)
        ]
        pieces = torch.stack([_piece(clips, rng) for _ in range(PIECES)])
        states = heads[1](wavlm.encoder(pieces).last_hidden_state)
        wanted = torch.stack([_told(piece, filters)[: states.shape[1]] for piece in pieces])
        yield torch.stack([*parts, _distance(states, wanted)]).mean()


def _told(samples: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return (T, told) of (N,) samples: what the encoders learn to tell of each frame."""
    return torch.cat([around(qualities(samples)), around(spectrum(samples, filters))], dim=1)


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    # A spectrum has ten times as many numbers as the qualities, and must not drown them.
    few = QUALITIES * len(AROUND)
    return F.mse_loss(found[..., :few], wanted[..., :few]) + F.mse_loss(found[..., few:], wanted[..., few:])


PIECES, PIECE_SAMPLES = 24, 60 * SAMPLES_PER_FRAME


def _window(clips: Sequence[Samples], rng: np.random.Generator, *, alone: bool) -> tuple[torch.Tensor, int]:
    """Return 30 s of clips, or one clip and silence, as Whisper hears it later; and the frames of clips."""
    order = rng.permutation(len(clips))[: 1 if alone else 30]
    samples = np.concatenate([clips[index] for index in order])[:WINDOW_SAMPLES]
    padded = np.pad(samples, (0, WINDOW_SAMPLES - samples.size))
    return torch.from_numpy(padded), -(-samples.size // SAMPLES_PER_FRAME)


def _piece(clips: Sequence[Samples], rng: np.random.Generator) -> torch.Tensor:
    clip = clips[int(rng.integers(len(clips)))]
    padded = np.pad(clip, (0, max(0, PIECE_SAMPLES - clip.size)))
    start = int(rng.integers(padded.size - PIECE_SAMPLES + 1))
    return torch.from_numpy(padded[start : start + PIECE_SAMPLES])


def train_decoder(decoder: AdaptedDecoder, steps: int, batch: int, seed: int) -> list[float]:
    """Train a decoder as a plain language model on texts; its corrections take no part.

    Args:
        decoder: In place; frozen again afterwards.
        steps: Optimizer steps.
        batch: Texts in each.
        seed: Of the texts.

    Returns:
        The loss of each step.
    """
    frozen = [value for name, value in decoder.named_parameters() if "lora_" not in name]
    corrections = [value for name, value in decoder.named_parameters() if "lora_" in name]
    for value in frozen:
        if value.ndim > 1:
            # transformers draws weights for wide models: here they would leave the states next to nothing.
            nn.init.normal_(value, std=decoder.shape.width**-0.5)
    _require_gradients(frozen, corrections)
    losses = learn(decoder, _text_losses(decoder, batch, np.random.default_rng(seed)), steps, 3e-3)
    _require_gradients(corrections, frozen)
    return losses


def _require_gradients(trained: Iterable[nn.Parameter], others: Iterable[nn.Parameter]) -> None:
    for value in others:
        value.requires_grad_(False)
    for value in trained:
        value.requires_grad_(True)


def _text_losses(decoder: AdaptedDecoder, batch: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
    tokenizer = ByteTokenizer()
    while True:
        rows = [
            torch.tensor([tokenizer.begin, *tokenizer.encode(text_of(rng)), tokenizer.end])
            for _ in range(batch)
        ]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.end)
        lengths = torch.tensor([len(row) for row in rows])
        valid = torch.arange(tokens.shape[1]) < lengths[:, None]
        with decoder.gate.scaled(None):
            states = decoder.states(decoder.embed(tokens[:, :-1]), valid[:, :-1])
        yield F.cross_entropy(decoder.llama.lm_head(states[valid[:, 1:]]), tokens[:, 1:][valid[:, 1:]])


def text_of(rng: np.random.Generator) -> str:
    """Return one text: a prompt in the form of all prompts, and its answer."""
    note, asked = _text(rng)
    before, after = render(Request(asked.prompt, np.empty(0, np.float32) if note else None, asked.system))
    return f"{before}{note}{after}{asked.answer}"


def _text(rng: np.random.Generator) -> tuple[str, Instruction]:
    """Return a note, which stands where speech stands, and what is asked; or no note, and a text alone."""
    sound, form = tasks.sound_for_texts(rng), rng.random()
    if form < ALONE:
        return "", tasks.text(rng, held_out=False)
    note = tasks.note(sound, rng)
    if form < ALONE + REPEATED:
        return f" {note}", Instruction("repeat", "Repeat it.", note.replace(" ", "; "), system=tasks.SYSTEM)
    if form < ALONE + REPEATED + LISTED:
        return f" {note}", tasks.listed(sound, rng)
    return f" {note}", tasks.question(str(rng.choice(tasks.asked(sound))), sound, rng)
