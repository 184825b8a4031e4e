import numpy as np

from firmware_sim import device as registers
from firmware_sim.device import Device


def make(samples: int, **options) -> tuple[Device, list[str]]:
    events: list[str] = []
    pcm = -np.arange(1, samples + 1).astype(np.int16)
    device = Device(
        pcm,
        4,
        options.get("read_memory"),
        on_block=lambda: events.append("block"),
        on_exit=lambda: events.append("exit"),
    )
    return device, events


def test_blocks_are_counted_down_and_samples_sign_extended() -> None:
    device, events = make(6)
    assert device.read(registers.AUDIO_AVAILABLE) == 4
    assert [device.read(registers.AUDIO_SAMPLE) for _ in range(2)] == [0xFFFF_FFFF, 0xFFFF_FFFE]
    assert device.read(registers.AUDIO_AVAILABLE) == 2
    assert events == ["block"]
    assert [device.read(registers.AUDIO_SAMPLE) for _ in range(3)] == [0xFFFF_FFFD, 0xFFFF_FFFC, 0]
    assert device.read(registers.AUDIO_AVAILABLE) == 2
    assert [device.read(registers.AUDIO_SAMPLE) for _ in range(2)] == [0xFFFF_FFFB, 0xFFFF_FFFA]
    assert device.read(registers.AUDIO_AVAILABLE) == 0
    assert events == ["block"] * 3


def test_results_are_committed_together_with_the_samples_heard() -> None:
    device, events = make(6)
    device.read(registers.AUDIO_AVAILABLE)
    device.read(registers.AUDIO_SAMPLE)
    for register, value in ((registers.RESULT_AROUSAL, 5), (registers.RESULT_DOMINANCE, 0xFFFF_FFF0)):
        device.write(register, value)
    device.write(registers.RESULT_VALENCE, 7)
    assert device.results == []
    device.write(registers.RESULT_COMMIT, 1)
    assert device.results == [(1, (5, -16, 7))]
    device.write(registers.EXIT_CODE, 0xFFFF_FFFF)
    assert (device.exit_code, events) == (-1, ["block", "exit"])


def test_traces_copy_memory_when_wanted() -> None:
    def trace(device: Device) -> None:
        for register, value in (
            (registers.TRACE_LAYER, 3),
            (registers.TRACE_ADDRESS, 0x100),
            (registers.TRACE_BYTES, 2),
        ):
            device.write(register, value)

    traced, _ = make(1, read_memory=lambda address, size: bytes([address >> 8] * size))
    trace(traced)
    assert traced.traces == [(3, b"\x01\x01")]
    silent, _ = make(1)
    trace(silent)
    assert silent.traces == []
