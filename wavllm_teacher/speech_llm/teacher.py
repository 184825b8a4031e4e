"""The speech language model as a teacher: asked for a number in each dimension, it gives the one to expect.

The answer is not read back as text. The chances of the numbers 1 to 7, each as the whole answer, weigh what
they stand for on the scale from 0 to 1 (`choices`): a value between two steps shows how sure the model was,
and the same clip always gets the same label.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit import artifact
from edgekit.audio import SAMPLE_RATE_HZ
from edgekit.metrics import DIMENSIONS
from wavllm_teacher.catalogue import TEACHERS
from wavllm_teacher.labelling.scan import LONGEST_S, SLACK_S
from wavllm_teacher.registry import TEACHER_FILE
from wavllm_teacher.speech_llm import storage, weights
from wavllm_teacher.speech_llm.choices import expected_value
from wavllm_teacher.speech_llm.folder import DECODER, load_assistant, tokenizer_file
from wavllm_teacher.speech_llm.generation import Assistant
from wavllm_teacher.speech_llm.instructions import naming
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import SYSTEM, Request
from wavllm_teacher.speech_llm.sizes import named
from wavllm_teacher.speech_llm.tokens import FileTokenizer, save_tokenizer

PUBLISHED = "wavllm"
"""The name in the catalogue, and in label tables, of WavLLM as it was published."""
NUMBERS = range(1, 8)
"""The scale of MSP-Podcast, on which the public teachers were rated too."""
SCALE = {str(number): (number - NUMBERS[0]) / (NUMBERS[-1] - NUMBERS[0]) for number in NUMBERS}
PROMPTS = {
    "arousal": "How excited does the speaker sound, from 1 (very calm) to 7 (very excited)?",
    "dominance": "How dominant does the speaker sound, from 1 (very weak) to 7 (very strong)?",
    "valence": "How positive does the speaker sound, from 1 (very negative) to 7 (very positive)?",
}
"""What is asked for each dimension, unless `teacher.json` has prompts of its own."""

_ENTRIES = ("kind", "name", "licence", "prompts", "system")
"""Of a `teacher.json`: a misspelt one must not label with what stands for it."""


class SpeechLlmTeacher:
    """Labels speech by asking about it.

    Args:
        assistant: Answers.
        prompts: Dimension to what is asked; answers are the numbers 1 to 7.
        system: The system's sentence that the model was trained with.
    """

    def __init__(self, assistant: Assistant, prompts: Mapping[str, str], system: str = SYSTEM) -> None:
        self.assistant = assistant
        self.prompts = prompts
        self.system = system

    def predict(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (len(clips), 3) arousal, dominance, valence from 0 to 1 of (N,) 16 kHz clips.

        Clips go one at a time, so that none depends on the others.
        """
        rows = [[self._value(name, samples) for name in DIMENSIONS] for samples in clips]
        return np.array(rows, np.float32).reshape(-1, len(DIMENSIONS))

    def _value(self, dimension: str, samples: NDArray[np.float32]) -> float:
        return expected_value(self.assistant, Request(self.prompts[dimension], samples, self.system), SCALE)


def load(folder: Path, facts: Mapping[str, Any]) -> SpeechLlmTeacher:
    """Load a folder with `teacher.json`; it runs on the best device.

    Args:
        folder: As `folder.load_assistant` reads it, all parts in it.
        facts: Content of its `teacher.json`; `prompts`, if they are there, name all three dimensions;
            `system`, the system's sentence.

    Raises:
        ArtifactError: If a file is missing or damaged, or the parts do not belong together.
        ConfigError: If the longest piece that can be labelled and a prompt are too long for the decoder.
        ValueError: If an entry is unknown, a dimension has no prompt, or what is said is no text.
    """
    unknown = sorted(set(facts) - set(_ENTRIES))
    if unknown:
        raise ValueError(f"unknown entry {unknown[0]}; the entries are {', '.join(_ENTRIES)}")
    prompts, system = facts.get("prompts", PROMPTS), facts.get("system", SYSTEM)
    if not isinstance(prompts, dict) or set(prompts) != set(DIMENSIONS):
        raise ValueError(f"prompts are to name {', '.join(DIMENSIONS)}")
    if not all(isinstance(text, str) and text.strip() for text in (*prompts.values(), system)):
        raise ValueError("prompts and system are texts")
    teacher = SpeechLlmTeacher(load_assistant(folder), prompts, system)
    _require_room(teacher, folder / TEACHER_FILE)
    return teacher


def _require_room(teacher: SpeechLlmTeacher, file: Path) -> None:
    # Once, for the longest piece that can be labelled: not after hours, for the first that is too long.
    longest = np.zeros(round((LONGEST_S + SLACK_S) * SAMPLE_RATE_HZ), np.float32)
    for dimension, prompt in teacher.prompts.items():
        with naming(f"{file}: {LONGEST_S:g} s and the prompt of {dimension}"):
            teacher.assistant.require_room(Request(prompt, longest, teacher.system), list(SCALE))


def files_of(folder: Path) -> list[str]:
    """Return the names of the files that decide the labels, `teacher.json` aside.

    Raises:
        ArtifactError: If a part is missing or damaged.
    """
    parts = storage.read_facts(folder)["frozen"]
    frozen = [file for part in parts for file in weights.files_of(folder / part)]
    files = [tokenizer_file(folder), *frozen]
    return [storage.FACTS_FILE, storage.ADAPTERS_FILE, *(str(file.relative_to(folder)) for file in files)]


def write_teacher(folder: Path, name: str, licence: str, prompts: Mapping[str, str] | None = None) -> None:
    """Write the `teacher.json` that makes a folder of a speech language model a teacher.

    Args:
        folder: Holds the model, its frozen parts and its tokenizer.
        name: Goes into the label table.
        licence: Of the weights, all parts together.
        prompts: What is asked for each dimension, instead of `PROMPTS`.
    """
    facts = {"kind": storage.KIND, "name": name, "licence": licence}
    artifact.write_json(folder / TEACHER_FILE, {**facts, **({"prompts": dict(prompts)} if prompts else {})})


def assemble(published: Path, sources: Mapping[str, Path], out: Path) -> None:
    """Put the published parts of WavLLM together to a teacher folder that needs none of them afterwards.

    Args:
        published: WavLLM's own checkpoint.
        sources: `decoder`, `whisper` and `wavlm`: LLaMA-2-7B-chat with its `tokenizer.json`,
            whisper-large-v2, wavlm-base.
        out: The folder to write.

    Raises:
        ArtifactError: If a part is missing or damaged; names the tensor that does not fit.
    """
    tokenizer = FileTokenizer(tokenizer_file(out, sources[DECODER]))
    model = SpeechLlm(named("wavllm-7b"), stage=2, empty=True)
    storage.load_published(model, published, sources, torch.bfloat16)
    storage.save_adapters(model, out)
    storage.save_frozen(model, out)
    save_tokenizer(tokenizer, out)
    write_teacher(out, PUBLISHED, TEACHERS[PUBLISHED].licence)
