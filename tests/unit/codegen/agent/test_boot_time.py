"""What a start and an installation cost on a simulated Cortex-M33 at 50 MHz."""

import struct
import zlib

import numpy as np
import pytest
from unit.codegen.agent.device import SECTOR
from unit.codegen.agent.images import CLASS, GRAPH, PUBLIC, VENDOR, Image, digest_of, full_payload

from codegen.toolchain import BOARD, board_source, compile_program
from codegen.update_agent import AGENT, agent_sources, crypto_sources
from edgekit.targets import load_target
from firmware_sim.simulator import simulate

SLOT_BYTES = 16 * SECTOR
FITTING, SLOT_0, SLOT_1 = 2 * SECTOR, 3 * SECTOR, 3 * SECTOR + SLOT_BYTES
NEEDED = ("ag_boot.c", "ag_flash.c", "ag_image.c", "ag_journal.c")
TEST, CONFIRMED, REVERTED = 1, 2, 3
READ_A_BLOCK = 1200
"""More cycles than reading 64 samples takes; they are counted with the decision."""

IMAGE = Image(payload=full_payload(60 * 1024), needs=(1, 1, 8, 3)).build()


def record(sequence: int, state: int, slot: int = 0, boots: int = 0) -> bytes:
    body = struct.pack("<BBBBII", 0xE6, slot, state, boots, sequence, 4) + digest_of(IMAGE)[:8]
    return body + struct.pack("<I", zlib.crc32(body))


def sector(records: list[bytes]) -> bytes:
    return b"".join(records).ljust(SECTOR, b"\xff")


TORN = record(9, CONFIRMED)[:20] + bytes(4)
JOURNALS = {
    "one record": (sector([record(1, CONFIRMED)]) + sector([]), (0, CONFIRMED)),
    "full sector": (sector([record(i + 1, CONFIRMED) for i in range(170)]) + sector([]), (0, CONFIRMED)),
    "on trial": (sector([record(1, TEST, 1, 3)]) + sector([]), (1, TEST)),
    "on trial, sector changes": (
        sector([record(i + 1, TEST, 1, 3) for i in range(170)]) + sector([]),
        (1, TEST),
    ),
    "given up": (sector([record(1, TEST, 1, 0)]) + sector([]), (0, REVERTED)),
    "a sector of torn records": (sector([record(1, CONFIRMED)]) + sector([TORN] * 170), (0, CONFIRMED)),
    "torn records before and behind": (
        sector([TORN] * 100 + [record(1, CONFIRMED)] + [TORN] * 69) + sector([TORN] * 170),
        (0, CONFIRMED),
    ),
}


def as_c(name: str, data: bytes) -> str:
    return f"static const uint8_t {name}[{len(data)}] = {{{','.join(map(str, data))}}};\n"


def header() -> str:
    flash = bytearray(b"\xff" * (SLOT_1 + SLOT_BYTES))
    flash[SLOT_0 : SLOT_0 + len(IMAGE)] = IMAGE
    flash[SLOT_1 : SLOT_1 + len(IMAGE)] = IMAGE
    journals = ",\n".join("{" + ",".join(map(str, journal)) + "}" for journal, _ in JOURNALS.values())
    fields = [PUBLIC, VENDOR, CLASS, GRAPH]
    device = ", ".join("{" + ",".join(map(str, field)) + "}" for field in fields)
    return (
        f"#define BOOT_JOURNALS {len(JOURNALS)}u\n#define BOOT_FITTING {FITTING}u\n"
        f"#define BOOT_SLOT_0 {SLOT_0}u\n"
        f"#define BOOT_SLOT_1 {SLOT_1}u\n#define BOOT_SLOT_BYTES {SLOT_BYTES}u\n"
        + as_c("boot_flash", bytes(flash))
        + f"static const uint8_t boot_journals[{len(JOURNALS)}][8192] = {{{journals}}};\n"
        + f"static const ag_device_t boot_device = {{{device}, 1, 2, 7, 65536, 3, {{0x01000000, 0}}}};\n"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boot")
    (folder / "boot_data.h").write_text(header())
    target = load_target("hearing-aid")
    small = [*(path for path in agent_sources() if path.name in NEEDED), *crypto_sources()]
    main = BOARD.parents[1] / "tests/unit/codegen/agent/boot_main.c"
    elf = compile_program(
        [main, board_source(target)], [folder, AGENT], target, folder / "boot.elf", small=small
    )
    blocks = len(JOURNALS) + 1
    return simulate(elf, target, np.zeros(blocks * target.audio.block_samples, np.int16))


def test_a_boot_decision_takes_at_most_5_ms(run):
    assert run.target.core.clock_hz == 50_000_000
    decided = [adv[:2] for _, adv in run.results[: len(JOURNALS)]]
    assert decided == [expected for _, expected in JOURNALS.values()]
    for name, cycles in zip(JOURNALS, run.block_cycles, strict=False):
        assert READ_A_BLOCK < cycles <= 250_000, (name, cycles)


def test_an_installation_checks_60_kb_within_half_a_second(run):
    assert run.results[-1][1][0] == 0
    assert 1_000_000 < run.block_cycles[len(JOURNALS)] < 25_000_000, run.block_cycles


def test_the_stack_is_bounded(run):
    assert run.stack_bytes < 3072
