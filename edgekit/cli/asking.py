"""`edgekit ask`: ask a speech language model about a recording."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from edgekit.cli import options
from edgekit.cli.progress import showing_progress
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from wavllm_teacher.speech_llm.generation import Assistant, Decoding

MODEL_HINT = "add --model, a folder of a speech language model; none comes with edgekit (docs/wavllm.md)"
UNSEEN = "\N{REPLACEMENT CHARACTER}"


@click.command()
@click.argument("audio", type=options.PATH)
@click.argument("prompt", required=False)
@options.model_options
@click.option(
    "--steps",
    metavar="NAME",
    help="Take a task apart, and answer step by step: translation, gist or emotion; instead of PROMPT.",
)
@click.option(
    "--step",
    "before",
    multiple=True,
    metavar="TEXT",
    help="Ask this before PROMPT; may be repeated. {1}, {2} and {previous} stand for the answers so far.",
)
@click.option(
    "--system",
    metavar="TEXT",
    help="The system's sentence that the model was trained with, if not edgekit's.",
)
@click.option(
    "--sample", is_flag=True, help="Draw the answer, as WavLLM was evaluated; else take the likeliest."
)
@click.option("--temperature", type=click.FloatRange(0, min_open=True), help="Of --sample.  [default: 0.5]")
@click.option("--seed", type=int, help="Of --sample.  [default: 0]")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Longest answer.",
)
@options.json_option
def ask(
    audio: Path,
    prompt: str | None,
    steps: str | None,
    before: tuple[str, ...],
    system: str | None,
    sample: bool,
    temperature: float | None,
    seed: int | None,
    max_tokens: int,
    as_json: bool,
    model: Path | None,
    **parts: Any,
) -> None:
    """Ask a speech language model about a recording.

    AUDIO is any audio file; PROMPT says what to do with it. The answer is printed as it comes.
    """
    from edgekit.audio import SAMPLE_RATE_HZ, read_audio
    from wavllm_teacher.speech_llm.instructions import naming
    from wavllm_teacher.speech_llm.prompts import SENTENCE, SYSTEM, require_text
    from wavllm_teacher.speech_llm.steps import require_possible, stream_steps

    asked = _asked(prompt, steps, before)
    require_possible(asked)
    require_text(system or SYSTEM, SENTENCE)
    decoding = _decoding(sample, temperature, seed, max_tokens)
    if model is None:
        raise ConfigError("no speech language model given", MODEL_HINT)
    samples = read_audio(audio)
    assistant = load_model(model, **parts)
    with naming(audio):
        answers = stream_steps(assistant, asked, samples, decoding, system or SYSTEM)
        turns = list(_turns(answers, asked, as_json))
    if as_json:
        last = {**turns[-1], "answer_s": round(sum(turn["answer_s"] for turn in turns), 3)}
        heard = {"audio": str(audio), "audio_s": round(samples.size / SAMPLE_RATE_HZ, 3)}
        options.print_json({**heard, **last, "steps": turns})


def load_model(
    model: Path, decoder: Path | None, whisper: Path | None, wavlm: Path | None, bits: str | None
) -> "Assistant":
    """Return the speech language model that `options.model_options` name.

    Raises:
        ArtifactError: If a part of it is missing or damaged, or the parts do not belong together.
    """
    from wavllm_teacher.speech_llm.folder import load_assistant

    parts = {"decoder": decoder, "whisper": whisper, "wavlm": wavlm}
    elsewhere = {name: path for name, path in parts.items() if path is not None}
    with showing_progress() as progress:
        progress("loading the model", 0, 1)
        return load_assistant(model, elsewhere, None if bits is None else int(bits))


def _asked(prompt: str | None, steps: str | None, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return the prompts to ask in turn."""
    from wavllm_teacher.speech_llm.steps import STEPS

    if steps is not None and steps not in STEPS:
        raise ConfigError(
            f"unknown steps {steps!r}", f"use one of {', '.join(STEPS)}, or --step with your own"
        )
    if steps is not None and (prompt is not None or before):
        raise ConfigError("--steps beside other prompts", "leave out PROMPT and --step, or --steps")
    if steps is not None:
        return STEPS[steps]
    if prompt is None:
        raise ConfigError("no prompt given", 'say what to do: edgekit ask AUDIO "PROMPT"; or name --steps')
    if not prompt.strip():
        raise ConfigError("the prompt is empty", "say what to do with the speech")
    return (*before, prompt)


def _decoding(sample: bool, temperature: float | None, seed: int | None, max_tokens: int) -> "Decoding":
    from wavllm_teacher.speech_llm.generation import PAPER, Decoding

    if not sample:
        if temperature is not None or seed is not None:
            raise ConfigError("--temperature or --seed without --sample", "add --sample, or leave them out")
        return Decoding(max_tokens)
    return Decoding(max_tokens, PAPER.temperature if temperature is None else temperature, seed=seed or 0)


def _turns(
    answers: Iterator[tuple[str, Iterator[str]]], asked: Sequence[str], quiet: bool
) -> Iterator[dict[str, Any]]:
    """Yield each prompt, its answer and the seconds that it took; unless `quiet`, print as it comes."""
    for number, (prompt, pieces) in enumerate(answers, 1):
        start_s = time.monotonic()
        if len(asked) > 1 and not quiet:
            click.echo(f"step {number} of {len(asked)}: {_shown(prompt, sys.stderr)}", err=True)
        said = []
        for piece in pieces:
            said.append(piece)
            if not quiet:
                click.echo(_shown(piece, sys.stdout), nl=False)
        if not quiet:
            click.echo()
        took_s = round(time.monotonic() - start_s, 3)
        yield {"prompt": prompt, "answer": "".join(said), "answer_s": took_s}


def _shown(text: str, stream: TextIO | None) -> str:
    """Return text as a stream gets it: a model's control characters do not reach a terminal."""
    if stream is None or not stream.isatty():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else UNSEEN for c in text)
