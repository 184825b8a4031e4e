"""The generated C, built for this machine and called in process: for parity checks and tests."""

import ctypes
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.emit import model_sources
from edgekit.errors import ParityError
from edgekit.graph import Graph
from edgekit.graph.reference import storage_dtype
from edgekit.graph.traces import collect
from edgekit.interrupts import interrupts_after
from edgekit.toolchain import compile_host

HARNESS = Path(__file__).parent / "board" / "host_harness.c"
LIBRARY = "libedgekit_traced.so"
SINK = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)


def build_library(c_folder: Path, out: Path) -> Path:
    """Compile the generated C and the trace harness to a shared library; return its path.

    Args:
        c_folder: What `codegen.stage.generate` wrote.
        out: Folder for the library.

    Raises:
        ConfigError: If there is no host compiler, or the C does not compile without warnings.
    """
    sources = [*model_sources(c_folder), HARNESS]
    library = out / LIBRARY
    return compile_host(sources, library, {"EDGEKIT_TRACE": "1"}, include=[c_folder])


class HostC:
    """The state of one generated model.

    Args:
        library: From `build_library`.
        model: Another weights blob than the one compiled in.
    """

    def __init__(self, library: Path, model: bytes | None = None) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.harness_state_bytes.restype = ctypes.c_size_t
        self.state_bytes = int(self._library.harness_state_bytes())
        self._state = (ctypes.c_uint64 * (self.state_bytes // 8 + 1))()
        words = ctypes.c_uint32 * (len(model) // 4 if model else 1)
        self._model = (
            words.from_buffer_copy(model) if model else words.in_dll(self._library, "edgekit_model_data")
        )
        self.begin(ctypes.addressof(self._model))

    def begin(self, model: int | None) -> None:
        """Start again with the weights blob at an address; None is NULL."""
        self._library.edgekit_init(self._state, ctypes.c_void_p(model))

    def reset(self) -> None:
        """Forget everything but the model."""
        self._library.edgekit_reset(self._state)

    @contextmanager
    def tracing(self) -> Iterator[list[tuple[int, bytes]]]:
        """Collect (operator number, bytes) of every layer result while the block runs."""
        rows: list[tuple[int, bytes]] = []
        sink = SINK(lambda layer, data, count: rows.append((layer, ctypes.string_at(data, count))))
        self._library.harness_set_sink(sink)
        # Ctrl-C in the sink would be lost in the C code that calls it, and a row with it.
        with interrupts_after():
            try:
                yield rows
            finally:
                self._library.harness_set_sink(None)


class HostModel(HostC):
    """One audio stream of the generated C."""

    def push(self, pcm: NDArray[np.int16]) -> int:
        """Add (N,) samples; return the engine's status (0: OK, -1: the blob is not of this graph)."""
        data = np.ascontiguousarray(pcm, np.int16)
        return int(self._library.edgekit_push(self._state, ctypes.c_void_p(data.ctypes.data), data.size))

    def heard(self) -> int:
        """Return the tokens, utterances or windows that a result stands on."""
        found = self._library.edgekit_heard
        found.restype = ctypes.c_uint32
        return int(found(self._state))

    def finish(self) -> int:
        """End the utterance (utterance mode only); return the engine's status."""
        return int(self._library.edgekit_finish(self._state))

    def read(self) -> NDArray[np.int16] | None:
        """Return (3,) A/D/V in Q14, or None where there is no result yet."""
        adv = (ctypes.c_int16 * 3)()
        status = int(self._library.edgekit_read(self._state, adv))
        return np.array(adv, np.int16) if status == 0 else None


class HostNetwork(HostC):
    """A generated network without audio."""

    def invoke(self, graph: Graph, inputs: Mapping[str, NDArray[np.integer]]) -> list[NDArray[np.integer]]:
        """Return the network's outputs for inputs by tensor name.

        Raises:
            ParityError: If the weights blob is not of this graph.
        """
        for place, name in enumerate(graph.inputs):
            data = np.ascontiguousarray(inputs[name], storage_dtype(graph.tensors[name].dtype)).tobytes()
            ctypes.memmove(self._memory("edgekit_input", place, len(data)), data, len(data))
        if self._library.edgekit_invoke(self._state) != 0:
            raise ParityError("the weights are not of this graph", "re-run edgekit codegen")
        return [self._output(graph, place) for place in range(len(graph.outputs))]

    def _output(self, graph: Graph, place: int) -> NDArray[np.integer]:
        tensor = graph.tensors[graph.outputs[place]]
        dtype = storage_dtype(tensor.dtype)
        size = math.prod(tensor.shape) * dtype.itemsize
        data = ctypes.string_at(self._memory("edgekit_output", place, size), size)
        return np.frombuffer(data, dtype).reshape(tensor.shape)

    def _memory(self, function: str, place: int, size_bytes: int) -> int:
        found, size = self._library[function], ctypes.c_size_t()
        found.restype = ctypes.c_void_p
        address = found(self._state, ctypes.c_size_t(place), ctypes.byref(size))
        if size.value != size_bytes:
            raise ParityError(f"{function} {place} has {size.value} bytes in C", "re-run edgekit codegen")
        return int(address)


def run_traced(model: HostModel, graph: Graph, pcm: NDArray[np.int16]) -> Mapping[str, NDArray[np.integer]]:
    """Run a whole clip from a reset and return every layer's result by tensor name, A/D/V included.

    Raises:
        ParityError: If the engine gives no result where the clip is long enough for one.
    """
    model.reset()
    with model.tracing() as rows:
        model.push(pcm)
        if graph.op("level").integer("memory_frames") == 0:
            model.finish()
        if model.read() is None:
            raise ParityError("the generated C gave no A/D/V", "re-run edgekit codegen")
    return collect(graph, rows)


def run_network_traced(
    network: HostNetwork, graph: Graph, inputs: Mapping[str, NDArray[np.integer]]
) -> Mapping[str, NDArray[np.integer]]:
    """Run a network without audio once and return every layer's result by tensor name."""
    with network.tracing() as rows:
        outputs = network.invoke(graph, inputs)
    return {**collect(graph, rows), **dict(zip(graph.outputs, outputs, strict=True))}
