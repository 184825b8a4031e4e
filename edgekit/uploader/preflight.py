"""What can be told before anything on the device changes."""

from edgekit.errors import (
    DowngradeError,
    EdgekitError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader.contents import Contents
from edgekit.uploader.device import Info

_SHOWN = 4


def check(image: Contents, info: Info) -> None:
    """See that the device would take an image.

    Raises:
        WrongTargetError: If the image is for other devices.
        WrongKeyError: If it is signed by another key.
        WrongGraphError: If the firmware was not generated for such a model.
        TooBigError: If it does not fit a slot, or needs more memory than there is.
        DowngradeError: If its security counter is too low.
    """
    for problem in (
        _target(image, info),
        _key(image, info),
        _graph(image, info) if image.graph is not None else None,
        _size(image, info) if image.graph is not None else None,
        _counter(image, info),
    ):
        if problem is not None:
            raise problem


def _target(image: Contents, info: Info) -> EdgekitError | None:
    for name, has, wants in (
        ("class", info.device_class, image.device_class),
        ("vendor", info.vendor, image.vendor),
    ):
        if wants is not None and wants != has:
            return WrongTargetError(
                f"the image is for devices of {name} {_short(wants)}; this one is of {_short(has)}",
                "build for this device: edgekit targets lists them",
            )
    return None


def _key(image: Contents, info: Info) -> EdgekitError | None:
    if image.key == info.key:
        return None
    return WrongKeyError(
        f"the image is signed by key {_short(image.key)}; the device trusts {_short(info.key)}",
        "sign it with that key: run edgekit image sign",
    )


def _graph(image: Contents, info: Info) -> EdgekitError | None:
    hint = "build and flash the firmware of the same build first: --image firmware"
    if image.abi is not None:
        major, minor, kernels = image.abi
        if (major, kernels) != (info.abi[0], info.abi[2]) or minor > info.abi[1]:
            return WrongGraphError(
                f"the model needs interface {_abi(image.abi)}; the firmware has {_abi(info.abi)}", hint
            )
    if image.graph != info.graph:
        return WrongGraphError(
            f"the model is for graph {_short(image.graph or b'')}; "
            f"the firmware was generated from {_short(info.graph)}",
            hint,
        )
    return None


def _size(image: Contents, info: Info) -> EdgekitError | None:
    hint = "use --weights mixed4, or a smaller student: edgekit students lists them"
    if len(image.data) > info.slot_bytes:
        return TooBigError(f"the image has {len(image.data):,} bytes; a slot {info.slot_bytes:,}", hint)
    if image.ram_bytes > info.ram_bytes:
        return TooBigError(
            f"the model needs {image.ram_bytes:,} bytes of RAM; the device has {info.ram_bytes:,}", hint
        )
    return None


def _counter(image: Contents, info: Info) -> EdgekitError | None:
    if image.counter >= info.floor:
        return None
    return DowngradeError(
        f"the image's security counter is {image.counter}; the device accepts {info.floor} and higher",
        "build and sign a newer image",
    )


def _abi(abi: tuple[int, int, int]) -> str:
    major, minor, kernels = abi
    return f"{major}.{minor} of kernels {kernels:#010x}"


def _short(digest: bytes) -> str:
    return digest[:_SHOWN].hex()
