import numpy as np
import pytest

from edgekit.errors import SimulationError, TargetError
from edgekit.targets import list_targets, load_target
from firmware_sim.timing import TIMINGS, cost_table, instruction_cycles, timing_of

M4 = TIMINGS["cortex-m4"]


@pytest.mark.parametrize(
    ("core", "mnemonic", "operands", "cycles"),
    [
        ("cortex-m4", "add", "r0, r1", 1),
        ("cortex-m4", "ldr", "r0, [r1]", 2),
        ("cortex-m4", "tbb", "[pc, r0]", 2),
        ("cortex-m4", "strb", "r0, [r1]", 1),
        ("cortex-m4", "ldm", "r0!, {r1, r2, r3}", 4),
        ("cortex-m4", "push", "{r4, lr}", 3),
        ("cortex-m4", "ldrd", "r0, r1, [r2]", 3),
        ("cortex-m4", "smlad", "r0, r1, r2, r3", 1),
        ("cortex-m4", "smlal", "r0, r1, r2, r3", 1),
        ("cortex-m4", "udiv", "r0, r1, r2", 7),
        ("cortex-m4", "b", "#0", 1),
        ("cortex-m4", "ldm", "r9, {r10, r11}", 3),
        ("cortex-m33", "ldaex", "r0, [r1]", 2),
        ("cortex-m33", "ldaexb", "r0, [r1]", 2),
        ("cortex-m33", "stlexh", "r0, r1, [r2]", 1),
        ("cortex-m4", "vldr", "s0, [r0]", 2),
        ("cortex-m4", "vldr", "d0, [r0]", 3),
        ("cortex-m4", "vstr", "s0, [r0]", 2),
        ("cortex-m4", "vstr", "d10, [r0]", 3),
        ("cortex-m4", "vldmia", "r0!, {s0, s1, s2}", 4),
        ("cortex-m4", "vpop", "{d8, d9, d10}", 7),
        ("cortex-m4", "vpush", "{d8}", 3),
        ("cortex-m4", "vdiv", "s0, s1, s2", 14),
        ("cortex-m4", "vsqrt", "s0, s1", 14),
        ("cortex-m4", "vmla", "s0, s1, s2", 3),
        ("cortex-m4", "vnmls", "s0, s1, s2", 3),
        ("cortex-m4", "vfma", "s0, s1, s2", 3),
        ("cortex-m4", "vfnms", "s0, s1, s2", 3),
        ("cortex-m4", "vmul", "s0, s1, s2", 1),
        ("cortex-m4", "vmov", "s0, r0", 1),
        ("cortex-m3", "mla", "r0, r1, r2, r3", 2),
        ("cortex-m3", "smull", "r0, r1, r2, r3", 5),
        ("cortex-m3", "umlal", "r0, r1, r2, r3", 7),
        ("cortex-m0", "str", "r0, [r1]", 2),
    ],
)
def test_cycles_follow_the_table(core: str, mnemonic: str, operands: str, cycles: int) -> None:
    assert instruction_cycles(TIMINGS[core], mnemonic, operands, pipelined=False) == cycles


def test_load_behind_a_load_is_pipelined_except_on_the_m0() -> None:
    assert instruction_cycles(M4, "ldrh", "r0, [r1]", pipelined=True) == 1
    assert instruction_cycles(TIMINGS["cortex-m0"], "ldrh", "r0, [r1]", pipelined=True) == 2


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        ("0860 0868", [1, 1]),  # str r0, [r1]   ldr r0, [r1]
        ("0cc9 0868", [3, 1]),  # ldm r1!, {r2, r3}   ldr r0, [r1]
        ("0cc1 0868", [3, 1]),  # stm r1!, {r2, r3}   ldr r0, [r1]
        ("d1e90023 0868", [3, 1]),  # ldrd r2, r3, [r1]   ldr r0, [r1]
        ("c1e90023 0868", [3, 1]),  # strd r2, r3, [r1]   ldr r0, [r1]
        ("91ed000a 0868", [2, 1]),  # vldr s0, [r1]   ldr r0, [r1]
        ("0868 0860", [2, 1]),  # ldr r0, [r1]   str r0, [r1]
        ("0868 0cc9", [2, 3]),  # ldr r0, [r1]   ldm r1!, {r2, r3}
        ("0868 d1e90023", [2, 3]),  # ldr r0, [r1]   ldrd r2, r3, [r1]
        ("0868 00bf 0868", [2, 1, 2]),  # ldr r0, [r1]   nop   ldr r0, [r1]
    ],
)
def test_loads_behind_any_access_of_memory_are_pipelined(code: str, cycles: list[int]) -> None:
    content = bytes.fromhex(code)
    table = cost_table(M4, content, 0, [(0, len(content))])
    begins = np.flatnonzero(np.diff(table.instructions_before))
    assert (table.cycles_before[begins + 1] - table.cycles_before[begins]).tolist() == cycles
    assert table.cycles_before[-1] == sum(cycles)


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        ("91ed000b", 3),  # vldr d0, [r1]
        ("bdec048b", 5),  # vpop {d8, d9}
        ("2ded028a", 3),  # vpush {s16, s17}
        ("80ee810a", 14),  # vdiv.f32 s0, s1, s2
        ("b1eee00a", 14),  # vsqrt.f32 s0, s1
        ("00ee810a", 3),  # vmla.f32 s0, s1, s2
        ("a0ee810a", 3),  # vfma.f32 s0, s1, s2
        ("d1e8ef0f", 2),  # ldaex r0, [r1]
    ],
)
def test_the_disassembler_and_the_table_have_the_same_names(code: str, cycles: int) -> None:
    content = bytes.fromhex(code)
    assert cost_table(M4, content, 0, [(0, len(content))]).cycles_before[-1] == cycles


def test_costs_are_prefix_sums_over_halfwords() -> None:
    # 0: ldr r0, [r1]   2: ldr r2, [r1]   4: mov.w r3, #1 (4 bytes)   8: a literal   12: ldr r0, [r1]
    code = bytes.fromhex("0868 0a68 4ff00103 ffffffff 0868")
    table = cost_table(M4, code, 0x100, [(0x100, 0x108), (0x10C, 0x10E)])
    assert table.instructions_before.tolist() == [0, 1, 2, 3, 3, 3, 3, 4]
    assert table.cycles_before.tolist() == [0, 2, 3, 4, 4, 4, 4, 6]
    assert table.entry_cycles.tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert table.entry_cycles.dtype == np.uint8


def test_data_among_instructions_is_an_error() -> None:
    with pytest.raises(SimulationError, match="0x102"):
        cost_table(M4, bytes.fromhex("0868 ffff ffff"), 0x100, [(0x100, 0x106)])


def test_every_target_has_a_timing_table() -> None:
    for target in map(load_target, list_targets()):
        if target.core.simulator != "native":
            timing_of(target.timing.table)
    with pytest.raises(TargetError, match="cortex-m85"):
        timing_of("cortex-m85")


@pytest.mark.shared
def test_rule_is_that_of_the_calibration_data(shared) -> None:
    """The rule of the shared instruction mixes: one table, so that their fit applies to our counts."""
    text = (shared / "calibration" / "README.md").read_text()
    assert "load 2 (1 directly after another load or store), LDM/STM 1 + N registers, division 7" in text
    assert (M4.load, M4.pipelined_load, M4.divide, M4.taken_branch) == (2, 1, 7, 2)
