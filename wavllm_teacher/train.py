"""Train the teachers, or assemble the full one: `python -m wavllm_teacher.train --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from edgekit.errors import EdgekitError
from wavllm_teacher.assembly import assemble_full
from wavllm_teacher.full import FullConfig, train_full
from wavllm_teacher.recipe import CompactConfig, train_compact
from wavllm_teacher.registry import built_in_folder, teacher_digest
from wavllm_teacher.speech_llm.teacher import PUBLISHED
from wavllm_teacher.speech_llm.teacher import assemble as assemble_wavllm


def _show(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"\r{what} {done}/{total}\033[K" + ("\n" if done == total else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m wavllm_teacher.train", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; results differ slightly with it")
    commands = parser.add_subparsers(dest="command", required=True)
    full = commands.add_parser("full", help="train the head on a frozen Whisper encoder")
    full.add_argument("--corpus", type=Path, required=True, help="clips with A/D/V labels and splits")
    full.add_argument("--encoder", type=Path, required=True, help="folder of the Whisper base encoder")
    full.add_argument("--out", type=Path, required=True, help="teacher folder to write; keeps its cache")
    compact = commands.add_parser("compact", help="distil the compact teacher from a full one")
    compact.add_argument("--corpus", type=Path, required=True, help="what the full teacher learned from")
    compact.add_argument("--speech", type=Path, required=True, help="further speech with a split table")
    compact.add_argument("--full", type=Path, required=True, help="folder of the full teacher")
    compact.add_argument("--out", type=Path, required=True, help="teacher folder to write; keeps its cache")
    assemble = commands.add_parser("assemble", help="put the shipped full head and an encoder together")
    assemble.add_argument("--encoder", type=Path, required=True, help="folder of the Whisper base encoder")
    assemble.add_argument("--out", type=Path, required=True, help="teacher folder to write")
    wavllm = commands.add_parser("wavllm", help="put the published parts of WavLLM together")
    wavllm.add_argument("--published", type=Path, required=True, help="WavLLM's own checkpoint")
    for part, what in (
        ("decoder", "LLaMA-2-7B-chat"),
        ("whisper", "whisper-large-v2"),
        ("wavlm", "wavlm-base"),
    ):
        wavllm.add_argument(f"--{part}", type=Path, required=True, help=f"folder of {what}")
    wavllm.add_argument("--out", type=Path, required=True, help="teacher folder to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the teacher that the command line names; return the exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        if options.command == "full":
            metrics = train_full(FullConfig(options.corpus, options.encoder), options.out, _show)
        elif options.command == "assemble":
            teacher = assemble_full(built_in_folder("whisper-base"), options.encoder, options.out)
            metrics = {"name": teacher.name, "digest": teacher.digest}
        elif options.command == "wavllm":
            sources = {part: getattr(options, part) for part in ("decoder", "whisper", "wavlm")}
            assemble_wavllm(options.published, sources, options.out)
            metrics = {"name": PUBLISHED, "digest": teacher_digest(str(options.out))}
        else:
            config = CompactConfig(options.corpus, options.speech, options.full)
            metrics = train_compact(config, options.out, _show)
    except EdgekitError as error:
        sys.stderr.write(f"error: {error.what}\nhint: {error.hint}\n")
        return error.exit_code
    sys.stdout.write(f"{metrics}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
