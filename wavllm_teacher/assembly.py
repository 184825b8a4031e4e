"""Writing teacher folders."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgekit import artifact
from wavllm_teacher import checkpoint
from wavllm_teacher.compact import CompactShape, CompactTeacher
from wavllm_teacher.encoder import load_encoder
from wavllm_teacher.head import EmotionHead
from wavllm_teacher.registry import TEACHER_FILE, Teacher, load_teacher

HEAD_FILE = "head.safetensors"
MODEL_FILE = "model.safetensors"
METRICS_FILE = "metrics.json"
LICENCE = "Apache-2.0 and MIT"
"""Of what edgekit trained, and of the Whisper encoder (OpenAI) that it was trained from."""
ENCODER_FILES = ("config.json", "model.safetensors")


def write_head(
    head: EmotionHead, layers: Sequence[int], width: int, categories: Sequence[str], out: Path
) -> None:
    """Write the full teacher without its encoder: `teacher.json` and `head.safetensors` (float16)."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(head, out / HEAD_FILE, half=True)
    facts = {
        "kind": "whisper",
        "name": "whisper-base",
        "licence": LICENCE,
        "shape": {"layers": list(layers), "width": width, "categories": len(categories)},
        "categories": list(categories),
    }
    artifact.write_json(out / TEACHER_FILE, facts)


def assemble_full(head_dir: Path, encoder_dir: Path, out: Path) -> Teacher:
    """Put a trained head and a Whisper encoder together to a teacher folder, and load it.

    Args:
        head_dir: Folder with `teacher.json` and `head.safetensors`; the package's own is
            `registry.built_in_folder("whisper-base")`.
        encoder_dir: Folder with `config.json` and `model.safetensors` of a Whisper base encoder.
        out: The folder to write; it needs neither of the others afterwards.

    Raises:
        ArtifactError: If head or encoder is damaged, or they do not fit each other.
    """
    load_encoder(encoder_dir)
    (out / "encoder").mkdir(parents=True, exist_ok=True)
    for name in ENCODER_FILES:
        shutil.copyfile(encoder_dir / name, out / "encoder" / name)
    if head_dir.resolve() != out.resolve():
        for name in (TEACHER_FILE, HEAD_FILE, METRICS_FILE):
            if (head_dir / name).is_file():
                shutil.copyfile(head_dir / name, out / name)
    return load_teacher(str(out))


def write_compact(network: CompactTeacher, shape: CompactShape, out: Path) -> None:
    """Write a compact teacher: `teacher.json` and `model.safetensors` (float16)."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.save(network, out / MODEL_FILE, half=True)
    facts = {"kind": "compact", "name": "compact", "licence": LICENCE, "shape": shape.to_dict()}
    artifact.write_json(out / TEACHER_FILE, facts)
