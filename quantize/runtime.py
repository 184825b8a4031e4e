"""Running the files as a user would, on one thread: ONNX in onnxruntime, .tflite in LiteRT."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def one_thread_session(model: Path | bytes) -> Any:
    """Return an onnxruntime session of a file or a serialized model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class OnnxModel:
    """One ONNX file with one input and one A/D/V output."""

    def __init__(self, path: Path) -> None:
        self._session = one_thread_session(path)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, value: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (3,) arousal, dominance, valence of a batch of one."""
        (result,) = self._session.run(None, {self._input: value})
        return np.asarray(result, np.float64).reshape(-1)


def litert_interpreter(path: Path) -> Any:
    """Return a .tflite in LiteRT's reference kernels, on one thread, every activation readable."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
