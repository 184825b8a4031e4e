"""The kinds of teachers: which files each consists of, and what loads it. Nothing heavy is imported here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ArtifactError
from wavllm_teacher import hub


class Network(Protocol):
    """What the networks of all kinds have in common."""

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) float32 arousal, dominance, valence, about 0..1, of (N,) 16 kHz clips."""
        ...


@dataclass(frozen=True)
class Kind:
    """How a kind of teacher lies in a folder.

    Attributes:
        files: Names of the files beside `teacher.json` that decide its labels, from folder and facts.
        load: Makes the network, from folder and facts.
        needs: Further entries of its `teacher.json`.
        on_best_device: Whether it runs on a GPU if there is one; else on the processor, in float32.
    """

    files: Callable[[Path, dict[str, Any]], Sequence[str]]
    load: Callable[[Path, dict[str, Any]], Network]
    needs: tuple[str, ...] = ()
    on_best_device: bool = False


def _load_compact(folder: Path, facts: dict[str, Any]) -> Network:
    from wavllm_teacher import checkpoint
    from wavllm_teacher.compact import CompactShape, CompactTeacher

    network = CompactTeacher(CompactShape.from_dict(facts["shape"]))
    checkpoint.load_into(network, folder / "model.safetensors")
    return network.eval()


def _load_whisper(folder: Path, facts: dict[str, Any]) -> Network:
    from wavllm_teacher import checkpoint
    from wavllm_teacher.device import best_device
    from wavllm_teacher.encoder import load_encoder
    from wavllm_teacher.head import EmotionHead
    from wavllm_teacher.whisper import WhisperTeacher

    shape = facts["shape"]
    layers, width = tuple(shape["layers"]), shape["width"]
    head = EmotionHead(2 * len(layers) * width, shape["categories"])
    checkpoint.load_into(head, folder / "head.safetensors")
    states = load_encoder(folder / "encoder")
    if states.width != width or max(layers) >= states.state_count:
        raise ArtifactError(
            f"{folder}: the head reads state {max(layers)} of width {width}, "
            f"the encoder gives {states.state_count} of {states.width}",
            "use the encoder that the head was trained with",
        )
    states.run_on(best_device())
    return WhisperTeacher(states, head, layers)


def _load_dual(folder: Path, facts: dict[str, Any]) -> Network:
    from wavllm_teacher.dual_encoder import load

    return load(folder, facts)


def _load_speech_llm(folder: Path, facts: dict[str, Any]) -> Network:
    from wavllm_teacher.speech_llm.teacher import load

    return load(folder, facts)


def _load_dawn(folder: Path, _facts: dict[str, Any]) -> Network:
    from wavllm_teacher.dawn import load

    return load(folder)


def _load_msp_wavlm(folder: Path, _facts: dict[str, Any]) -> Network:
    from wavllm_teacher.msp_wavlm import load

    return load(folder)


def _dual_files(_folder: Path, facts: dict[str, Any]) -> list[str]:
    encoders = [
        f"{name}/{file}" for name in facts["encoders"] for file in ("config.json", "model.safetensors")
    ]
    return ["adapters.safetensors", *encoders]


def _speech_llm_files(folder: Path, _facts: dict[str, Any]) -> list[str]:
    from wavllm_teacher.speech_llm.teacher import files_of

    return files_of(folder)


def _public_files(folder: Path, _facts: dict[str, Any]) -> list[str]:
    return [hub.CONFIG_FILE, *hub.weight_files(folder)]


def _named(*names: str) -> Callable[[Path, dict[str, Any]], Sequence[str]]:
    return lambda _folder, _facts: names


KINDS = {
    "compact": Kind(_named("model.safetensors"), _load_compact, ("shape",)),
    "whisper": Kind(
        _named("head.safetensors", "encoder/config.json", "encoder/model.safetensors"),
        _load_whisper,
        ("shape",),
        on_best_device=True,
    ),
    "dual-encoder": Kind(_dual_files, _load_dual, ("shape", "encoders"), on_best_device=True),
    "speech-llm": Kind(_speech_llm_files, _load_speech_llm, on_best_device=True),
    "dawn": Kind(_public_files, _load_dawn, on_best_device=True),
    "msp-wavlm": Kind(_public_files, _load_msp_wavlm, on_best_device=True),
}
