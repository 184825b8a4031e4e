"""The label stage: any amount of audio to a table of arousal, dominance, valence."""

from wavllm_teacher.labelling.engines import make_engine
from wavllm_teacher.labelling.sources import LabelConfig, find_sources
from wavllm_teacher.labelling.stage import Summary, identity, label, note_location, summarize

__all__ = [
    "LabelConfig",
    "Summary",
    "find_sources",
    "identity",
    "label",
    "make_engine",
    "note_location",
    "summarize",
]
