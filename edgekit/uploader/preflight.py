"""What can be told before anything on the device changes."""

import uuid

from edgekit.errors import DeviceError
from edgekit.uploader.container import Version
from edgekit.uploader.device import Info
from edgekit.uploader.facts import Abi
from edgekit.uploader.image import DeviceFacts, Image, check_device, check_signature
from edgekit.uploader.keys import PublicKey


def check(image: Image, info: Info) -> None:
    """See that the device would take an image.

    Raises:
        DeviceError: If what the device says of itself makes no sense.
        ImageError: If it would not; the class says why, see `edgekit.uploader.image.check_device`.
    """
    is_model = image.facts.kind == "model"
    try:
        key = None if info.public is None else PublicKey.from_raw(info.public)
        device = DeviceFacts(
            vendor=uuid.UUID(bytes=info.vendor),
            device_class=uuid.UUID(bytes=info.device_class),
            # The device tells size and floor of its slots for models only: firmware is counted by itself.
            slot_bytes=info.slot_bytes if is_model else None,
            abi=Abi(*info.abi),
            graph=info.graph,
            ram_bytes=info.ram_bytes,
            floor=info.floor if is_model else None,
            firmware=Version.parse(info.firmware),
            key_hash=info.key,
        )
    except ValueError as error:
        raise DeviceError(f"the device's answer makes no sense: {error}", "update its firmware") from error
    if key is not None:
        # The device would find a wrong signature only after the slot is erased and written.
        check_signature(image, key)
    check_device(image, device)
