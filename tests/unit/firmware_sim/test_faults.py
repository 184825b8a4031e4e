"""What a firmware that goes wrong ends with: in unicorn, with a stack limit and without, and in QEMU."""

import json
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import needs_qemu, target_of
from unit.firmware_sim.builds import build_folder

import codegen
from codegen.toolchain import board_source, compile_program
from edgekit.cli.app import main
from edgekit.errors import SimulationError
from edgekit.target import Target
from firmware_sim import simulate
from firmware_sim.program import read_program

PCM = np.random.default_rng(7).integers(-3000, 3000, 1000).astype(np.int16)
KERNELS = Path(codegen.__file__).parent / "kernels"
SOURCE = Path(__file__).parent / "programs" / "faults.c"
CORES = ["cortex-m33", "cortex-m4", pytest.param("cortex-m55", marks=needs_qemu)]
LIMIT = 1_000_000
MOST_S = 30
"""A second where nothing else runs."""

BAD_READ, FLASH, UNDEFINED, OVERFLOW, RUNAWAY, IN_RAM, SLEEP = range(1, 8)
DIVISION, TIGHT, BAD_WRITE, BAD_STACK, CALL, BREAKPOINT = range(8, 14)
IN_FLASH, LITERAL, EVENT, BAD_RETURN, NO_EXCEPTION, AS_DATA = range(14, 20)
FAULTS = {
    FLASH: "to flash at 0x",
    UNDEFINED: "undefined instruction",
    OVERFLOW: "stack overflow",
    RUNAWAY: "runaway: 1,000,000 instructions in one block of audio",
    IN_RAM: "no code",
    SLEEP: "sleeps, and nothing wakes it",
    DIVISION: "division by zero",
    TIGHT: "runaway: 1,000,000 instructions in one block of audio",
    BAD_WRITE: "bad pointer: ",
    CALL: "supervisor call",
    BREAKPOINT: "breakpoint",
    IN_FLASH: ", which is no code",
    EVENT: "waits for an event that nothing sends",
    AS_DATA: "undefined instruction",
}
NAMES = {
    FLASH: "write to flash",
    UNDEFINED: "undefined instruction",
    OVERFLOW: "stack overflow",
    RUNAWAY: "runaway loop",
    IN_RAM: "code in RAM",
    SLEEP: "sleep",
    DIVISION: "division by zero",
    TIGHT: "loop of one branch",
    BAD_WRITE: "bad pointer",
    CALL: "supervisor call",
    BREAKPOINT: "breakpoint",
    IN_FLASH: "loop in flash",
    EVENT: "wait for an event",
    AS_DATA: "undefined instruction as data",
}


def line_of(mark: str, source: Path = SOURCE) -> str:
    lines = source.read_text().splitlines()
    return f"{source.name}:{next(i for i, line in enumerate(lines, 1) if f'/* {mark} */' in line)}"


def frames(error: SimulationError) -> list[tuple[str, str]]:
    """Return (function, line) of each frame that is shown."""
    found = [re.fullmatch(r"  #\d+ +0x[0-9a-f]{8}  (\S+)  (.*)", line) for line in error.details]
    return [(match[1], match[2]) for match in found if match]


def registers(error: SimulationError) -> dict[str, int]:
    return {
        name: int(value, 16)
        for line in error.details[error.details.index("registers:") + 1 :]
        for name, value in re.findall(r"(\w+) 0x([0-9a-f]{8})", line)
    }


CALLERS = [("middle", line_of("CALL 1")), ("outer", line_of("CALL 2")), ("main", line_of("CALL 3"))]


def failure(elf: Path, target: Target) -> SimulationError:
    started = time.monotonic()
    with pytest.raises(SimulationError) as caught:
        simulate(elf, target, PCM, {"all": ["main"]}, block_instruction_limit=LIMIT)
    assert time.monotonic() - started < MOST_S
    return caught.value


@pytest.fixture(scope="module")
def failed(build_program: Callable[..., Path]) -> Callable[[int, str], SimulationError]:
    def run(fault: int, core: str) -> SimulationError:
        target = target_of(core)
        return failure(build_program("faults", target, {"FAULT": str(fault)}), target)

    return run


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES.get)
def test_faults_end_with_place_stack_and_registers(fault: int, core: str, failed) -> None:
    error = failed(fault, core)
    assert error.exit_code == 8
    assert FAULTS[fault] in error.what
    shown = frames(error)
    if fault in (IN_RAM, IN_FLASH):
        assert shown.pop(0)[1] == "no code"
    function, line = shown[0]
    assert function == "fault"
    assert error.what.endswith(f", in fault at {line}")
    if fault != OVERFLOW:
        assert line == line_of(f"FAULT {fault}")
        assert len(shown) == 4
    assert shown[-3:] == CALLERS
    found = registers(error)
    assert list(found) == [*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr"]
    assert found["sp"] % 4 == 0
    assert found["xpsr"] & 1 << 24, "the Thumb bit"


M3 = "cortex-m3"
"""Has no stack limit, nor the multiplications of the others."""


@pytest.mark.parametrize("core", [*CORES, M3])
def test_a_loop_of_data_among_the_code_ends(core: str, failed) -> None:
    error = failed(LITERAL, core)
    pc = registers(error)["pc"]
    assert error.what == f"jump to {pc:#x}, which is no code, in fault at {line_of('FAULT 15')}"
    assert frames(error)[0] == ("fault", line_of("FAULT 15"))


@pytest.mark.parametrize("core", [*CORES, M3])
@pytest.mark.parametrize("fault", [BAD_RETURN, NO_EXCEPTION])
def test_returns_to_nowhere_say_what_they_are(fault: int, core: str, failed) -> None:
    said = failed(fault, core).what
    nowhere = "jump to what is no code" if core == "cortex-m55" else "jump to 0xdeadbeee, which is no code"
    # QEMU's core takes no such return from there for one.
    outside = nowhere if core == "cortex-m55" else "return from an exception outside of one"
    assert said.startswith(f"{nowhere if fault == BAD_RETURN else outside}, in ")


@pytest.mark.parametrize("fault", [IN_FLASH, EVENT])
def test_a_cortex_m3_says_the_same(fault: int, failed) -> None:
    assert FAULTS[fault] in failed(fault, M3).what


@pytest.mark.parametrize("core", CORES[:2])
def test_ctrl_c_ends_code_that_calls_nothing(core: str, build_program: Callable[..., Path]) -> None:
    """As if the limit were never reached: nothing in the loop calls Python, which would handle the signal."""
    target = target_of(core)
    elf = build_program("faults", target, {"FAULT": str(TIGHT)})
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        simulate(elf, target, PCM, {"all": ["main"]}, block_instruction_limit=1 << 60)
    assert time.monotonic() - started < MOST_S


@pytest.mark.parametrize("core", CORES[:2])
def test_null_pointers_fault(core: str, failed) -> None:
    error = failed(BAD_READ, core)
    assert "bad pointer: read of 4 bytes at 0x0," in error.what
    assert frames(error) == [("fault", line_of("FAULT 1")), *CALLERS]


@pytest.mark.parametrize("core", CORES)
def test_registers_are_those_at_the_fault(core: str, failed) -> None:
    error = failed(BAD_WRITE, core)
    assert "0xf000000" in error.what
    found = registers(error)
    assert 0x0F000000 in found.values()
    assert found["pc"] == int(re.search(r"#0 +(0x\w+)", error.details[1])[1], 16)


@pytest.mark.parametrize("core", CORES)
def test_the_program_counter_is_at_the_instruction(core: str, build_program: Callable[..., Path]) -> None:
    target = target_of(core)
    elf = build_program("faults", target, {"FAULT": str(DIVISION)})
    program = read_program(elf)
    place = registers(failure(elf, target))["pc"] - program.code_origin
    assert int.from_bytes(program.code[place : place + 2], "little") & 0xFFF0 == 0xFBB0, "UDIV"


@pytest.mark.parametrize("core", CORES)
def test_a_deep_stack_is_shown_from_both_ends(core: str, failed) -> None:
    error = failed(OVERFLOW, core)
    assert len(frames(error)) == 16
    (left_out,) = [line for line in error.details if " more" in line]
    # 8 KiB of stack, 80 bytes a frame.
    assert 80 < int(re.search(r"(\d+) more", left_out)[1]) < 120


@pytest.mark.parametrize("core", CORES)
def test_a_stack_overflow_overwrites_nothing(core: str, failed) -> None:
    target = target_of(core)
    found = registers(failed(OVERFLOW, core))
    assert found["sp"] < target.memory.ram_origin + 96


@pytest.mark.parametrize("core", CORES)
def test_a_stack_that_is_nowhere_says_so(core: str, failed) -> None:
    error = failed(BAD_STACK, core)
    # The first caller is in a register, the second was on the stack.
    assert frames(error) == [("fault", line_of("FAULT 11")), CALLERS[0]]
    assert "  ends here: the stack of middle cannot be read" in error.details
    assert registers(error)["sp"] == 0xF0000000


@pytest.mark.parametrize("core", CORES)
def test_faults_are_deterministic(core: str, build_program: Callable[..., Path]) -> None:
    target = target_of(core)
    elf = build_program("faults", target, {"FAULT": str(RUNAWAY)})
    first, second = failure(elf, target), failure(elf, target)
    assert (first.what, first.details) == (second.what, second.details)


@pytest.mark.parametrize("core", CORES)
def test_divisions_are_left_alone_where_nobody_asked_for_the_trap(
    core: str, build_program: Callable[..., Path]
) -> None:
    result = simulate(
        build_program("divisions", target_of(core)), target_of(core), PCM[:64], {"all": ["main"]}
    )
    # Divided by zero without the trap: 0; with it and no zero: the quotient.
    assert result.adv == (0, 3, 0)


@pytest.mark.parametrize("core", CORES)
def test_the_command_prints_it_all_and_exits_with_8(
    core: str, build_program: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = target_of(core)
    elf = build_program("faults", target, {"FAULT": str(UNDEFINED)})
    assert main(["simulate", str(build_folder(tmp_path / "build", elf, target)), "--json"]) == 8
    said = capsys.readouterr()
    assert said.out == ""
    first, second, *rest = said.err.splitlines()
    assert first == f"error: undefined instruction, in fault at {line_of('FAULT 3')}"
    assert second.startswith("hint: ")
    assert rest[0] == "call stack:"
    assert len(rest) == 1 + 4 + 1 + 5


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("defines", [{}, {"AS_DATA": "1"}], ids=["instruction", "data"])
def test_inlined_functions_have_frames(
    defines: dict[str, str], core: str, build_program: Callable[..., Path]
) -> None:
    target = target_of(core)
    error = failure(build_program("inlined", target, defines), target)
    source = SOURCE.with_name("inlined.c")
    assert frames(error) == [
        ("inner", f"{line_of('FAULT', source)}, inlined"),
        ("between", f"{line_of('CALL 1', source)}, inlined"),
        ("outer", line_of("CALL 2", source)),
        ("main", line_of("CALL 3", source)),
    ]
    assert error.what == f"undefined instruction, in inner at {line_of('FAULT', source)}"


@needs_qemu
def test_kernels_in_assembly_have_callers(tmp_path: Path) -> None:
    """`ek_products_mve` is all assembly: it says itself where it keeps registers."""
    target = target_of("cortex-m55")
    sources = [SOURCE.with_name("kernel_fault.c"), board_source(target), KERNELS / "ek_products_mve.c"]
    elf = compile_program(sources, [KERNELS], target, tmp_path / "program.elf")
    assert [function for function, _ in frames(failure(elf, target))] == ["ek_products_mve", "outer", "main"]


def test_nothing_in_a_firmware_depends_on_the_machine(build_program: Callable[..., Path]) -> None:
    content = build_program("faults", target_of("cortex-m33"), {"FAULT": "1"}).read_bytes()
    for folder in {str(Path(__file__).parents[3]), str(Path.home()), "site-packages"}:
        assert folder.encode() not in content


def test_faults_survive_a_process_pool() -> None:
    import pickle

    error = SimulationError("what", "hint", ["a", "b"])
    again = pickle.loads(pickle.dumps(error))
    assert (again.what, again.hint, again.details) == ("what", "hint", ("a", "b"))
    assert json.dumps(again.details)
