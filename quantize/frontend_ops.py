"""The front end as integer operators: from `FrontEnd` settings to constants and operators."""

import json

import numpy as np

from edgekit.audio import FrontEnd, mel_filters
from edgekit.graph import TIME, Op, Quantization, Tensor
from edgekit.graph.fixedpoint import LOG2_FRACTION_BITS, log2_table
from quantize.graph_builder import GraphBuilder
from quantize.scales import requantization

BASIS_BITS = 15
LEVEL_BITS = 8
PCM_BITS = 15
DB_PER_LOG2 = 10 * np.log10(2)


def add_front_end(
    builder: GraphBuilder, front_end: FrontEnd, log_mel: Quantization, frames: int = TIME
) -> str:
    """Add PCM to int8 log-mels; return the name of the (T, M, 1) result.

    Args:
        builder: An empty builder; its graph gets the input `pcm`.
        front_end: The settings, causal or utterance.
        log_mel: Scale and zero point of the result, in dB.
        frames: How many the network reads at a time; TIME: as they come.
    """
    windows = {"n_fft": front_end.n_fft, "hop": front_end.hop}
    memory = front_end.memory_frames
    bins = front_end.n_fft // 2 + 1
    builder.add_input(Tensor("pcm", (TIME,), "int16", Quantization((2.0**-PCM_BITS,))))
    builder.add_constant("log2_table", "uint16", log2_table())
    builder.add_constant("dft_basis", "int16", _dft_basis(front_end.n_fft))
    builder.metadata["front_end"] = json.dumps(front_end.to_dict(), sort_keys=True)

    windowed = Tensor("frames", (TIME, front_end.n_fft), "int16", Quantization((2.0**-PCM_BITS,)))
    builder.add_op(
        Op("frame", "frame", ("pcm",), ("frames",), {**windows, "memory_frames": memory}), windowed
    )
    causal = front_end.level == "causal"
    attributes = {
        **windows,
        "memory_frames": memory if causal else 0,
        "epsilon_q8": round(front_end.level_epsilon * 2 ** (2 * PCM_BITS + LEVEL_BITS)),
    }
    level = Tensor("level_log2", (TIME if causal else 1,), "int16")
    builder.add_op(Op("frame_level", "level", ("frames", "log2_table"), ("level_log2",), attributes), level)
    builder.add_op(
        Op(
            "power_spectrum",
            "spectrum",
            ("frames", "dft_basis"),
            ("power",),
            {"shift_bits": _spectrum_shift_bits(front_end.n_fft)},
        ),
        Tensor("power", (TIME, bins), "int64"),
    )
    _add_mel(builder, front_end)
    return _add_normalize(builder, front_end, log_mel, frames)


def _spectrum_shift_bits(n_fft: int) -> int:
    """Return what keeps full scale below 2^51: the sums grow with the window's length."""
    return 3 + n_fft.bit_length()


def _mel_bits(n_fft: int) -> int:
    """Return the places of the mel weights: a band's sum, which grows with the bins, stays below 2^12."""
    return 25 - n_fft.bit_length()


def _dft_basis(n_fft: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Return the (2, bins, n_fft) cosines and sines under a periodic Hann window, Q15."""
    n = np.arange(n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / n_fft)
    angle = 2 * np.pi * np.outer(np.arange(n_fft // 2 + 1), n) / n_fft
    basis = np.stack([np.cos(angle), np.sin(angle)]) * window
    return np.asarray(np.clip(np.rint(basis * 2**BASIS_BITS), -32767, 32767), np.int16)


def _add_mel(builder: GraphBuilder, front_end: FrontEnd) -> None:
    filters = np.rint(mel_filters(front_end) * 2 ** _mel_bits(front_end.n_fft)).astype(np.int64)
    used = [np.flatnonzero(band) for band in filters.T]
    builder.add_constant("mel_first_bin", "uint8", np.array([b[0] if b.size else 0 for b in used], np.uint8))
    builder.add_constant("mel_bin_count", "uint8", np.array([b.size for b in used], np.uint8))
    weights = np.concatenate([filters[bins, band] for band, bins in enumerate(used)])
    builder.add_constant("mel_weights", "uint16", weights.astype(np.uint16))
    names = ("power", "mel_first_bin", "mel_bin_count", "mel_weights")
    bands = (TIME, front_end.mel_bands)
    builder.add_op(Op("mel_filter", "mel", names, ("mel_power",)), Tensor("mel_power", bands, "int64"))
    log = Op("log2", "log", ("mel_power", "log2_table"), ("mel_log2",))
    builder.add_op(log, Tensor("mel_log2", bands, "int16"))


def _add_normalize(builder: GraphBuilder, front_end: FrontEnd, log_mel: Quantization, frames: int) -> str:
    db_per_unit = DB_PER_LOG2 / 2**LOG2_FRACTION_BITS
    multiplier, shift = requantization(db_per_unit, [1.0], log_mel.scales[0])
    # log2 of what the integer mel power is multiplied by, less that of the integer level.
    mel_bits = 2 * (PCM_BITS + BASIS_BITS - _spectrum_shift_bits(front_end.n_fft)) + _mel_bits(
        front_end.n_fft
    )
    level_bits = 2 * PCM_BITS + LEVEL_BITS
    attributes = {
        "offset_q9": (level_bits - mel_bits) << LOG2_FRACTION_BITS,
        "floor_q9": round(np.log2(front_end.floor_power) * 2**LOG2_FRACTION_BITS),
        "multiplier": int(multiplier[0]),
        "shift": int(shift[0]),
        "output_zero_point": log_mel.zero_point,
    }
    op = Op("level_normalize", "normalize", ("mel_log2", "level_log2"), ("log_mel",), attributes)
    builder.add_op(op, Tensor("log_mel", (frames, front_end.mel_bands, 1), "int8", log_mel))
    return "log_mel"
