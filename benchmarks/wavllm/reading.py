"""A small decoder that can read: LLaMA's form, trained on short texts about emotions in WavLLM's template.

A description stands where speech will stand, or in the instruction; what is learned is to answer from it. No
audio takes part. The tokens are learned from the same texts: byte pairs, as LLaMA's own are, so that any text
has tokens.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 -- the name PyTorch users know

from benchmarks.wavllm.emodb import EMOTIONS
from edgekit import artifact
from edgekit.progress import Progress
from wavllm_teacher import hub
from wavllm_teacher.speech_llm.curriculum import IGNORED
from wavllm_teacher.speech_llm.decoder import settings
from wavllm_teacher.speech_llm.prompts import Request, render, tokenise
from wavllm_teacher.speech_llm.sizes import DecoderShape
from wavllm_teacher.speech_llm.tokens import BEGIN, END, TOKENIZER_FILE, FileTokenizer

SHAPE = DecoderShape(vocabulary=512, width=128, layers=4, heads=4, feed_forward=352, positions=512)
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 500, 24, 2e-3, 0.01
WARM_UP = 0.05
LARGEST_GRADIENT = 1.0
TOKEN_TEXTS = 2000
"""Texts that tokens are learned from."""
CHECKED = 400
"""Texts that the trained decoder is checked on."""
FACTS = "reading.json"

NAMING = (
    "What is the emotion of the speaker?",
    "How does the speaker feel?",
    "Name the emotion in one word.",
    "Which emotion do you hear?",
    "What does the voice express?",
    "In what mood is the speaker?",
)
"""Instructions that speech is asked with in training."""
UNHEARD = "How is the person feeling?"
"""An instruction that the decoder knows from text alone."""
_WHO = ("The speaker", "The voice", "She", "He", "The man", "The woman", "This person", "Anna", "The caller")
_FORMS = (
    "{who} is {emotion}.",
    "{who} sounds {emotion}.",
    "{who} feels {emotion} today.",
    "{who} seems to be {emotion}.",
    "{who} has been {emotion} all day.",
    "{emotion}",
    "A person who is {emotion} speaks.",
)
_SAID = (
    "The door is open.",
    "It rains outside.",
    "The train comes at seven.",
    "There is bread on the table.",
    "They went home on Sunday.",
    "The cloth lies on the fridge.",
    "Tonight I can tell him.",
    "We will be back soon.",
)
_THINGS = ("door", "rain", "train", "bread", "table", "cloth", "home", "light", "yes", "no", *EMOTIONS)
_IN_SPEECH = 0.7
"""Share of texts whose description stands between the marks of speech."""
_IMPRESSIONS = 0.6
"""Share of these descriptions that are no sentence, but one word after another."""
_CLARITY = (0.3, 1.0)
_MOMENTS = (4, 40)


@dataclass(frozen=True)
class Text:
    """One text to learn from.

    Attributes:
        request: What is asked.
        spoken: The description that stands for speech; empty where there is none.
        answer: What follows.
    """

    request: Request
    spoken: str
    answer: str


Draw = Callable[[np.random.Generator], Text]
"""Makes texts; what it makes depends on the generator alone."""


def draw(rng: np.random.Generator) -> Text:
    """Return a text about one emotion, or about a word."""
    emotion = str(rng.choice(EMOTIONS))
    question, answer = _question(emotion, rng)
    if rng.random() < _IN_SPEECH:
        described = _impressions(emotion, rng) if rng.random() < _IMPRESSIONS else _described(emotion, rng)
        return Text(Request(question, np.empty(0, np.float32)), described, answer)
    return Text(Request(f"{_described(emotion, rng)} {question}"), "", answer)


def _impressions(emotion: str, rng: np.random.Generator) -> str:
    """Return a word for each of some moments, as speech has them: most are one emotion, others mislead."""
    clarity = rng.uniform(*_CLARITY)
    count = int(rng.integers(*_MOMENTS))
    words = [emotion if rng.random() < clarity else str(rng.choice(_THINGS)) for _ in range(count)]
    return " ".join([emotion, *words])


def _described(emotion: str, rng: np.random.Generator) -> str:
    form = str(rng.choice(_FORMS)).format(who=rng.choice(_WHO), emotion=emotion)
    parts = [form, *rng.choice(_SAID, int(rng.integers(3)))]
    return " ".join(rng.permutation(parts))


def _question(emotion: str, rng: np.random.Generator) -> tuple[str, str]:
    """Return an instruction and its answer."""
    kind = rng.random()
    other = str(rng.choice([word for word in EMOTIONS if word != emotion]))
    if kind < 0.6:
        return str(rng.choice((*NAMING, UNHEARD))), emotion
    if kind < 0.75:
        first, second = rng.permutation([emotion, other])
        return f"Is the speaker {first} or {second}?", emotion
    if kind < 0.9:
        asked = emotion if rng.random() < 0.5 else other
        return f"Is the speaker {asked}?", "yes" if asked == emotion else "no"
    thing = str(rng.choice(_THINGS))
    return f"Say the word {thing}.", thing


def pretrained(folder: Path, progress: Progress, drawn: Draw = draw, steps: int = STEPS) -> dict[str, Any]:
    """Train tokens and decoder into a folder as transformers lays it out, unless they are there.

    Args:
        folder: The decoder's.
        progress: Is told of each step.
        drawn: The texts.
        steps: Batches of them.

    Returns:
        The number of parameters, the last loss, the seconds of processor time, and the share of other texts
        that are answered exactly.
    """
    from transformers import LlamaForCausalLM

    file = folder / FACTS
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = _learned_tokens(folder / TOKENIZER_FILE, drawn)
        torch.manual_seed(0)
        llama: Any = LlamaForCausalLM(settings(SHAPE))
        started = time.process_time()
        loss = _train(llama, tokenizer, progress, drawn, steps)
        seconds = time.process_time() - started
        llama.save_pretrained(folder)
        count = sum(parameter.numel() for parameter in llama.parameters())
        facts = {"parameters": count, "loss": loss, "seconds": seconds}
        facts["exact"] = exact_share(llama, tokenizer, drawn)
        artifact.write_json(file, facts)
    return hub.read_json(file)


def _learned_tokens(file: Path, drawn: Draw = draw) -> FileTokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rng = np.random.default_rng(3)
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocabulary,
        special_tokens=[BEGIN, END],
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    texts = [drawn(rng) for _ in range(TOKEN_TEXTS)]
    found.train_from_iterator([part for text in texts for part in _written(text)], trainer)
    artifact.write_text(file, found.to_str())
    return FileTokenizer(file)


def _written(text: Text) -> tuple[str, ...]:
    before, after = render(text.request)
    return before, text.spoken, after, text.answer


def _train(llama: Any, tokenizer: FileTokenizer, progress: Progress, drawn: Draw, steps: int) -> float:
    """Train every weight, and return the mean loss of the last tenth of the steps."""
    optimizer = torch.optim.AdamW(llama.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    turns = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARM_UP, cycle_momentum=False
    )
    losses = []
    for step in range(steps):
        rng = np.random.default_rng([1, step])
        tokens, targets = _batch([drawn(rng) for _ in range(BATCH)], tokenizer)
        logits = llama(input_ids=tokens).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(llama.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        turns.step()
        losses.append(loss.item())
        progress("teaching the decoder to read", step + 1, steps)
    return float(np.mean(losses[-steps // 10 :]))


def _batch(texts: Sequence[Text], tokenizer: FileTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, T) tokens, padded behind, and what is to be predicted.

    That is what follows a description: like speech later, it is heard and not predicted.
    """
    rows, wanted = [], []
    for text in texts:
        prompt = tokenise(text.request, tokenizer)
        answer = [*tokenizer.encode(text.answer), tokenizer.end]
        heard = [*prompt.before, *tokenizer.encode(text.spoken)]
        rows.append(torch.tensor([*heard, *prompt.after, *answer]))
        wanted.append(torch.tensor([*[IGNORED] * len(heard), *prompt.after, *answer]))
    pad = nn.utils.rnn.pad_sequence
    return pad(rows, batch_first=True), pad(wanted, batch_first=True, padding_value=IGNORED)


@torch.no_grad()
def exact_share(llama: Any, tokenizer: FileTokenizer, drawn: Draw = draw) -> float:
    """Return the share of other texts whose answer's every token is the likeliest, the end included."""
    rng = np.random.default_rng(2)
    right = []
    for _ in range(CHECKED):
        text = drawn(rng)
        tokens, targets = _batch([text], tokenizer)
        likeliest = llama(input_ids=tokens).logits[0, :-1].argmax(dim=1)
        length = len(tokenizer.encode(text.answer)) + 1
        right.append(bool((likeliest[-length:] == targets[0, -length:]).all()))
    return float(np.mean(right))
