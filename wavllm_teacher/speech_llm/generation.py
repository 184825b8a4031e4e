"""Answers: batched generation with a key-value cache, greedy or sampled, whole or as it comes.

Letters: B requests, V vocabulary.
An answer depends on its request, the decoding and the seed alone: clips are encoded one at a time, padding is
masked, positions are counted without it, and every request draws from a generator of its own.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm.hearing import Heard
from wavllm_teacher.speech_llm.model import Sequences, SpeechLlm
from wavllm_teacher.speech_llm.prompts import Prompt, Request, tokenise
from wavllm_teacher.speech_llm.tokens import Tokenizer, stream_text

MOST_TOGETHER = 8
"""Requests that are answered at once, unless told otherwise."""


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
        most_tokens: Longest answer.
        temperature: What logits are divided by before sampling; 0 takes the likeliest token.
        top_p: Sample among the likeliest tokens that together have this probability.
        seed: Of the sampling.
        cached: Keep keys and values of what was read; without it, all is computed again for each token.

    Raises:
        ConfigError: If a value is impossible.
    """

    most_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    cached: bool = True

    def __post_init__(self) -> None:
        # Colder than this, logits divided by it overflow.
        possible = self.temperature == 0 or 1e-3 <= self.temperature < math.inf
        if self.most_tokens < 1 or not possible or not 0 < self.top_p <= 1 or not 0 <= self.seed < 2**63:
            raise ConfigError(
                f"impossible decoding: {self.most_tokens} tokens, temperature {self.temperature}, "
                f"top_p {self.top_p}, seed {self.seed}",
                "most_tokens is at least 1, temperature 0 or at least 0.001, top_p in (0, 1], "
                "seed in [0, 2^63)",
            )


GREEDY = Decoding()
PAPER = Decoding(temperature=0.5)
"""As WavLLM was evaluated: sampled at temperature 0.5, at most 512 tokens."""


class Chooser:
    """Chooses the next token of each of some requests.

    Args:
        decoding: How.
        rows: Number of requests, B.
    """

    def __init__(self, decoding: Decoding, rows: int) -> None:
        self.decoding = decoding
        # All begin with the same seed: what a request draws must not depend on its place in the batch.
        self.random = [torch.Generator().manual_seed(decoding.seed) for _ in range(rows)]

    def __call__(self, logits: torch.Tensor) -> list[int]:
        """Return one token for each row of (B, V) logits."""
        if self.decoding.temperature == 0:
            likeliest: list[int] = logits.argmax(dim=1).tolist()
            return likeliest
        chances = torch.softmax(logits.double().cpu() / self.decoding.temperature, dim=1)
        return [self._draw(row, source) for row, source in zip(chances, self.random, strict=True)]

    def _draw(self, chances: torch.Tensor, source: torch.Generator) -> int:
        # Inverted by hand, in the order of the vocabulary: how torch.multinomial draws is not specified.
        sums = self._kept(chances).cumsum(dim=0)
        mark = torch.rand(1, generator=source, dtype=torch.float64) * sums[-1]
        return int(torch.searchsorted(sums, mark, right=True).clamp(max=len(sums) - 1))

    def _kept(self, chances: torch.Tensor) -> torch.Tensor:
        """Return (V,) chances with 0 for tokens beyond `top_p`."""
        ranked, order = chances.sort(descending=True, stable=True)
        before = ranked.cumsum(dim=0) - ranked
        return torch.zeros_like(chances).index_copy(0, order, ranked * (before < self.decoding.top_p))


@torch.no_grad()
def generate(
    model: SpeechLlm, prompts: Sequence[Prompt], heard: Sequence[Heard | None], end: int, decoding: Decoding
) -> Iterator[list[int | None]]:
    """Yield the next token of each request, step by step; None where an answer has ended.

    Args:
        model: Answers.
        prompts: Tokens of B requests.
        heard: The speech of each, None where there is none.
        end: The token that ends an answer.
        decoding: How tokens are chosen.

    Raises:
        ConfigError: If speech and prompt are longer than the decoder's positions.
    """
    sequences, choose = model.sequences(prompts, heard), Chooser(decoding, len(prompts))
    cache = _new_cache(model) if decoding.cached else None
    ended = [False] * len(prompts)
    for _ in range(decoding.most_tokens):
        tokens = choose(model(sequences, cache, last=1)[:, -1])
        ended = [done or token == end for done, token in zip(ended, tokens, strict=True)]
        yield [None if done else token for done, token in zip(ended, tokens, strict=True)]
        full = sequences.valid.sum(dim=1) >= model.shape.decoder.positions
        ended = [done or no_room for done, no_room in zip(ended, full.tolist(), strict=True)]
        if all(ended):
            return
        sequences = _extended(model, sequences, tokens, cached=decoding.cached)


def _new_cache(model: SpeechLlm) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.decoder.llama.config)


def _extended(model: SpeechLlm, sequences: Sequences, tokens: list[int], *, cached: bool) -> Sequences:
    """Return sequences with one more token each; what a cache holds is left out."""
    follow = model.decoder.embed(torch.tensor(tokens, device=model.place)[:, None])
    embedded = follow if cached else torch.cat([sequences.embedded, follow.to(sequences.embedded)], dim=1)
    valid = torch.cat([sequences.valid, sequences.valid.new_ones(len(tokens), 1)], dim=1)
    return Sequences(embedded, valid, sequences.scale)


class Assistant:
    """A model and its tokenizer: text and speech in, text out.

    Args:
        model: Answers; it is put into evaluation mode.
        tokenizer: The one that the decoder was trained with.
        together: Most requests to answer at once.

    Raises:
        ConfigError: If the tokenizer has more tokens than the decoder.
    """

    def __init__(self, model: SpeechLlm, tokenizer: Tokenizer, together: int = MOST_TOGETHER) -> None:
        known = model.shape.decoder.vocabulary
        if tokenizer.size > known:
            raise ConfigError(
                f"the tokenizer has {tokenizer.size} tokens, the decoder {known}",
                "name the tokenizer.json that belongs to the decoder",
            )
        self.model = model.train(mode=False)
        self.tokenizer = tokenizer
        self.together = together
        self._heard: dict[bytes, Heard] = {}

    def require_room(self, request: Request, answers: Sequence[str] = ()) -> None:
        """Require that a request fits into the decoder: that is known before its speech is heard.

        Args:
            request: What is asked.
            answers: Answers that must fit behind it, each by itself.

        Raises:
            ConfigError: If speech and prompt, and the longest of the answers, are too long.
        """
        prompt = tokenise(request, self.tokenizer)
        speech = 0 if request.samples is None else self.model.speech_positions(request.samples.size)
        longest = max((len(self.tokenizer.encode(answer)) + 1 for answer in answers), default=0)
        self.model.require_room(len(prompt.before) + speech + len(prompt.after) + longest)

    def answer(self, requests: Sequence[Request], decoding: Decoding = GREEDY) -> list[str]:
        """Return the answer to each request.

        Raises:
            ConfigError: If one is too long for the decoder.
        """
        found: list[str] = []
        for start in range(0, len(requests), self.together):
            batch = requests[start : start + self.together]
            steps = zip(*self._steps(batch, decoding), strict=True)
            found += [self.tokenizer.decode([t for t in tokens if t is not None]) for tokens in steps]
        return found

    def stream(self, request: Request, decoding: Decoding = GREEDY) -> Iterator[str]:
        """Yield the answer to a request piece by piece, as it is generated."""
        tokens = (step[0] for step in self._steps([request], decoding))
        yield from stream_text(self.tokenizer, (token for token in tokens if token is not None))

    def _steps(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[int | None]]:
        for request in requests:
            self.require_room(request)
        prompts = [tokenise(request, self.tokenizer) for request in requests]
        return generate(self.model, prompts, self.hear(requests), self.tokenizer.end, decoding)

    def hear(self, requests: Sequence[Request]) -> list[Heard | None]:
        """Return what the encoders make of each request's speech.

        What was heard last is kept: steps and scales ask about the same clips again and again.

        Raises:
            ConfigError: If speech alone is longer than the decoder's positions.
        """
        clips = [request.samples for request in requests]
        keys = [None if samples is None else hashlib.sha256(samples.tobytes()).digest() for samples in clips]
        heard: dict[bytes, Heard] = {}
        for key, samples in zip(keys, clips, strict=True):
            if key is not None and samples is not None and key not in heard:
                heard[key] = self._heard[key] if key in self._heard else self.model.hear(samples)
        self._heard = heard
        return [None if key is None else heard[key] for key in keys]
