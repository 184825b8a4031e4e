"""The public Wav2Small2.0 checkpoint (audeering/wav2small, CC-BY-NC-SA-4.0), in its published key layout."""

import math
from pathlib import Path

from torch import Tensor

from distill.wav2small import Wav2Small2
from edgekit.audio import FrontEnd
from edgekit.errors import ArtifactError

WEIGHTS = "model.safetensors"
HINT = "restore the folder from its source"
FRONT_END = FrontEnd(level="utterance")
LARGEST_ERROR = 1e-3
"""The checkpoint's own Fourier and mel matrices may differ from ours by rounding, not by definition."""
FLOOR = "vgg7.logmel_extractor.amin"
UNUSED = {FLOOR: (1,)}
"""The floor of the logarithm, which `FrontEnd` states."""


def load_public(folder: Path, *, end_padding: bool = False) -> Wav2Small2:
    """Load a folder as audeering/wav2small lays it out.

    Args:
        folder: Holds `model.safetensors`.
        end_padding: As in `Wav2Small2`: True is how it was trained, False how it streams.

    Raises:
        ArtifactError: If the file is missing or damaged, a tensor is missing, surplus, misshapen or not
            finite (it is named), or its front end is another one than edgekit's.
    """
    file = folder / WEIGHTS
    tensors = _read(file)
    student = Wav2Small2(FRONT_END, end_padding=end_padding)
    own = {_public_name(name): name for name in student.state_dict()}
    shapes = {name: tuple(student.state_dict()[own[name]].shape) for name in own}
    _require_tensors(file, tensors, shapes | UNUSED)
    _require_front_end(file, tensors)
    student.load_state_dict({own[name]: t for name, t in tensors.items() if name not in UNUSED})
    return student.eval()


def _require_tensors(file: Path, tensors: dict[str, Tensor], wanted: dict[str, tuple[int, ...]]) -> None:
    for name, shape in wanted.items():
        if name not in tensors:
            raise ArtifactError(f"{file}: tensor {name} is missing", HINT)
        if tuple(tensors[name].shape) != shape:
            found = tuple(tensors[name].shape)
            raise ArtifactError(f"{file}: tensor {name} has shape {found}, expected {shape}", HINT)
        if not tensors[name].isfinite().all():
            raise ArtifactError(f"{file}: tensor {name} holds numbers that are not finite", HINT)
    surplus = sorted(set(tensors) - set(wanted))
    if surplus:
        raise ArtifactError(f"{file}: tensor {surplus[0]} is unknown to Wav2Small2.0", HINT)


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{file}: no readable weights ({error})", HINT) from error
    return tensors


def _public_name(own: str) -> str:
    """Return what a tensor of ours is called in the public checkpoint.

    Example:
        >>> _public_name("l3.conv.weight"), _public_name("mel"), _public_name("adv.bias")
        ('vgg7.l3.conv.weight', 'vgg7.logmel_extractor.melW', 'adv.bias')
    """
    if own == "mel":
        return "vgg7.logmel_extractor.melW"
    if own.startswith(("conv_real.", "conv_imag.")):
        return f"vgg7.spectrogram_extractor.{own}"
    return own if own.startswith("adv.") else f"vgg7.{own}"


def _require_front_end(file: Path, tensors: dict[str, Tensor]) -> None:
    """Require the Fourier and mel matrices and the floor that the device computes with."""
    own = Wav2Small2(FRONT_END)
    sine = "vgg7.spectrogram_extractor.conv_imag.weight"
    expected = {
        "vgg7.spectrogram_extractor.conv_real.weight": own.conv_real.weight,
        # It is squared: its sign, that of the exponent in the Fourier transform, does not matter.
        sine: own.conv_imag.weight * (tensors[sine] * own.conv_imag.weight).sum().sign(),
        "vgg7.logmel_extractor.melW": own.mel,
    }
    for name, values in expected.items():
        if (tensors[name] - values).abs().max() > LARGEST_ERROR:
            raise ArtifactError(f"{file}: {name} is not the front end of Wav2Small2.0", HINT)
    floor = tensors[FLOOR].item()
    if not math.isclose(floor, FRONT_END.floor_power, rel_tol=LARGEST_ERROR):
        raise ArtifactError(f"{file}: {FLOOR} is {floor:g}, not {FRONT_END.floor_power:g}", HINT)
