"""Running a firmware on this computer itself: compiled for it, its processor time measured.

Nothing is simulated and nothing counted: a cycle is a nanosecond that the board measured
(codegen/board/board_host.c), and another run measures another one.
"""

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from edgekit.errors import ConfigError, SimulationError
from edgekit.target import Target
from firmware_sim.files import read_results, read_traces, write_audio
from firmware_sim.program import REBUILD, Program, Section, Symbol, open_elf
from firmware_sim.regions import BUG_HINT
from firmware_sim.result import SimResult

LEAST_LIMIT_S = 60.0
LIMIT_PER_AUDIO = 20
"""A program that takes so many times the duration of its audio, and the least, has hung."""
_WEIGHTS, _WEIGHTS_SECTION = "edgekit_model_data", ".model"
_OWN_SOURCE = re.compile(r"(edgekit_|ek_).*\.c|(network_)?main\.c|audio\.c")
_OWN_NAME = re.compile(r"(edgekit_|ek_).*|firmware_main|audio_(interrupt|next)")
"""The firmware's files and functions; all else is the board's, the compiler's and the C library's."""
_KINDS = ("STT_FUNC", "STT_OBJECT")


def refuse_counting(target: Target, what: str) -> None:
    """Raise a ConfigError if the target's programs run on this computer, where nothing is counted or changed.

    Args:
        target: The device.
        what: What was asked for, as the beginning of a sentence.
    """
    if target.core.simulator == "native":
        raise ConfigError(
            f"{what}: target {target.name} runs on this computer itself, not on a simulated core",
            "leave it out, or build for a target with a simulated core (edgekit targets)",
        )


def run_natively(elf: Path, target: Target, pcm: npt.NDArray[np.int16], *, trace: bool) -> SimResult:
    """Run a firmware on audio and measure what it takes; see `firmware_sim.simulate`.

    Raises:
        SimulationError: If the firmware crashes, hangs, ends before its audio, or is no program for this
            computer.
    """
    program = _read_program(elf, target.memory.stack_bytes)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_audio(work / "audio", pcm, target.audio.block_samples)
        limit_s = LEAST_LIMIT_S + LIMIT_PER_AUDIO * len(pcm) / target.audio.sample_rate_hz
        exit_code = _run(elf, work, limit_s)
        begins = _begins(work, exit_code)
        return SimResult(
            target=target,
            program=program,
            exit_code=exit_code,
            samples=len(pcm),
            results=tuple(read_results(work / "results")),
            traces=tuple(read_traces(work / "traces")) if trace else (),
            regions={},
            startup_cycles=begins[0],
            block_cycles=tuple(np.diff(begins).tolist()),
            block_instructions=None,
            stack_bytes=int(np.fromfile(work / "stack", "<u8")[0]),
        )


def _run(elf: Path, work: Path, limit_s: float) -> int:
    """Return the exit code of a program that came to its end by itself."""
    with (work / "said").open("wb") as said:
        try:
            process = subprocess.Popen(
                [elf.resolve()], cwd=work, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        except OSError as error:
            raise SimulationError(
                f"{elf}: cannot be run here ({error.strerror})", "run edgekit build again on this computer"
            ) from error
    try:
        exit_code = process.wait(limit_s)
    except subprocess.TimeoutExpired as error:
        raise SimulationError(f"the firmware hangs: not at its end after {limit_s:g} s", BUG_HINT) from error
    finally:
        process.kill()
        process.wait()
    if exit_code < 0:
        name, meaning = signal.Signals(-exit_code).name, signal.strsignal(-exit_code)
        raise SimulationError(f"the firmware crashed: {name} ({meaning})", BUG_HINT)
    return exit_code


def _begins(work: Path, exit_code: int) -> list[int]:
    """Return when each block began, and when the last one ended."""
    path = work / "blocks"
    begins: list[int] = np.fromfile(path, "<u8").tolist() if path.exists() else []
    if len(begins) < 2:
        said = (work / "said").read_text(errors="replace").strip()
        what = f"the firmware ended with {exit_code} before it had read its audio"
        raise SimulationError(f"{what}{said and ': '}{said}", BUG_HINT)
    return begins


def _read_program(elf: Path, stack_bytes: int) -> Program:
    """Return what of a program for this computer is the firmware, as far as its symbols tell."""
    with open_elf(elf) as file:
        table = file.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise SimulationError(f"{elf.name}: not a program with a symbol table", REBUILD)
        symbols = list(_symbols(file, table))
        sections = tuple(_sections(file, [symbol for _, symbol in symbols]))
    by_kind = {kind: tuple(symbol for found, symbol in symbols if found == kind) for kind in _KINDS}
    return Program(
        segments=(),
        sections=sections,
        functions=by_kind["STT_FUNC"],
        objects=by_kind["STT_OBJECT"],
        code_origin=0,
        code=b"",
        instruction_ranges=(),
        stack_limit=0,
        stack_top=stack_bytes,
    )


def _symbols(file: ELFFile, table: SymbolTableSection) -> Iterator[tuple[str, Symbol]]:
    """Yield the kind of each symbol of the firmware, and the symbol."""
    source = ""
    for symbol in table.iter_symbols():
        kind, index = symbol["st_info"]["type"], symbol["st_shndx"]
        if kind == "STT_FILE":
            source = PurePosixPath(symbol.name).name
            continue
        local = symbol["st_info"]["bind"] == "STB_LOCAL"
        own = _OWN_SOURCE.fullmatch(source) if local else _OWN_NAME.fullmatch(symbol.name)
        if own and kind in _KINDS and isinstance(index, int):
            section = _WEIGHTS_SECTION if symbol.name == _WEIGHTS else file.get_section(index).name
            yield kind, Symbol(symbol.name, symbol["st_value"], symbol["st_size"], section)


def _sections(file: ELFFile, symbols: Sequence[Symbol]) -> Iterator[Section]:
    """Yield the sections that the symbols lie in, as large as these: the weights in one of their own."""
    sizes: dict[str, int] = {}
    for symbol in symbols:
        sizes[symbol.section] = sizes.get(symbol.section, 0) + symbol.size_bytes
    for name, size_bytes in sizes.items():
        section = file.get_section_by_name(name)
        writable = section is not None and bool(section["sh_flags"] & SH_FLAGS.SHF_WRITE)
        loaded = section is None or section["sh_type"] != "SHT_NOBITS"
        yield Section(name, 0, size_bytes, writable, loaded)
