"""What a training from the command line needs: frozen parts as folders, and a manifest of tasks."""

import json
from pathlib import Path

import soundfile
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, tiny
from unit.wavllm_teacher.tiny import voice

from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.sizes import SpeechLlmShape
from wavllm_teacher.speech_llm.tokens import ByteTokenizer, save_tokenizer

LINES = [
    {"task": "emotion", "audio": "clips/0.wav", "prompt": "How?", "answer": "sad"},
    {"task": "emotion", "audio": "clips/1.wav", "prompt": "How does she feel?", "answer": "calm"},
    {"task": "text", "prompt": "Say yes.", "answer": "yes", "system": "Listen."},
    {"task": "both", "audio": "clips/1.wav", "prompt": "How? And a word?", "answer": "calm; yes"},
    {"task": "emotion", "audio": "clips/0.wav", "prompt": "How?", "answer": "sad", "split": "dev"},
    {"task": "text", "prompt": "Say no.", "answer": "no", "split": "dev"},
]


def write_frozen(folder: Path, shape: SpeechLlmShape = TINY) -> dict[str, Path]:
    """Write frozen parts with the decoder's tokenizer beside it, and return where each lies."""
    storage.save_frozen(tiny(1, shape), folder)
    save_tokenizer(ByteTokenizer(), folder / "decoder")
    return {part: folder / part for part in storage.frozen_parts(shape)}


def write_tasks(folder: Path, lines: list[dict[str, str]] | None = None) -> Path:
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for seed in range(2):
        soundfile.write(folder / f"clips/{seed}.wav", voice(0.4, seed), 16000)
    (folder / "tasks.jsonl").write_text("\n".join(map(json.dumps, lines or LINES)))
    return folder / "tasks.jsonl"
