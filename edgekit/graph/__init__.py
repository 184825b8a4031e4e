"""The integer graph: the one truth of the arithmetic, from int16 PCM to A/D/V.

Writers (ONNX, TFLite, C) and the simulator render it; none of them has numerics of its own.
"""

from edgekit.graph.reference import run
from edgekit.graph.serialize import graph_digest, load_graph, save_graph
from edgekit.graph.spec import verify
from edgekit.graph.text import to_text
from edgekit.graph.types import FRONT_END_KINDS, TIME, Graph, Op, Quantization, Tensor
from edgekit.graph.windows import heard_pieces, hears_audio, window_samples

__all__ = [
    "FRONT_END_KINDS",
    "TIME",
    "Graph",
    "Op",
    "Quantization",
    "Tensor",
    "graph_digest",
    "heard_pieces",
    "hears_audio",
    "load_graph",
    "run",
    "save_graph",
    "to_text",
    "verify",
    "window_samples",
]
