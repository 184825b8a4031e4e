"""Compiling firmware: from C sources to an ELF file and a flash image for a target.

For a target that is this computer itself, the ELF file is a program that runs here, without a flash image.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import ConfigError
from edgekit.target import Target
from edgekit.toolchain import (
    STRICT_FLAGS,
    compile_host,
    define_flags,
    find_host_compiler,
    find_zig,
    find_zig_folder,
    include_flags,
    run_compiler,
)

if TYPE_CHECKING:
    from codegen.flash_map import FlashMap
    from codegen.updates import Updates

__all__ = [
    "BOARD",
    "NETWORK_MAIN",
    "SIZE_FLAGS",
    "board_defines",
    "board_source",
    "compile_firmware",
    "compile_host",
    "compile_program",
    "elf_to_binary",
    "find_cross_compiler",
]

BOARD = Path(__file__).parent / "board"
"""Hand-written firmware around the model: start-up, memory functions, board support, main."""

_CODE_FLAGS = ("-O2", "-g", "-fomit-frame-pointer", "-ffunction-sections", "-fdata-sections")
_FREESTANDING_FLAGS = ("-ffreestanding", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_NATIVE_FLAGS = ("-fno-pie", "-pthread")
"""Addresses that are known when linking: constants with addresses stay constants."""
_NATIVE_LINK_FLAGS = ("-no-pie", "-pthread", "-Wl,--gc-sections", "-Wl,-z,now")
"""Every function is bound before the start, not at its first call, which would take time and stack."""

SIZE_FLAGS = ("-Os", "-Xclang", "-Oz")
"""Clang's smallest code; Zig takes -Oz for -Os unless it is told so."""


NETWORK_MAIN = "network_main.c"
"""The board's main loop of a network without audio."""


def find_cross_compiler() -> list[str]:
    """Return the command of the C cross compiler for Arm.

    Raises:
        ConfigError: If there is none.
    """
    zig = find_zig()
    if zig is None:
        raise ConfigError("no cross compiler for Arm: ziglang is not installed", "run pip install ziglang")
    return [*zig, "cc"]


def compile_firmware(
    sources: Sequence[Path],
    include: Sequence[Path],
    target: Target,
    out_elf: Path,
    defines: Mapping[str, str] | None = None,
    main: str = "main.c",
    updates: "Updates | None" = None,
) -> Path:
    """Compile a model's engine with the board's main loop into a firmware.

    Args:
        sources: The engine's C files (see ARCHITECTURE.md for the C interface).
        include: Its header folders, with `edgekit_model.h`.
        target: The device.
        out_elf: The ELF file to write; has debug information and no absolute path.
        defines: Preprocessor definitions, `EDGEKIT_TRACE` for example.
        main: The board's main loop: of a model that hears audio, or `NETWORK_MAIN`.
        updates: How the firmware takes new models; None leaves the update agent out.

    Returns:
        `out_elf`.

    Raises:
        ConfigError: If there is no compiler for the target, or the C does not compile or fit.
    """
    board = [BOARD / main, board_source(target)]
    if main != NETWORK_MAIN:
        board.append(BOARD / "audio.c")
    known = {**board_defines(target), **(defines or {})}
    if updates is None:
        return compile_program([*board, *sources], include, target, out_elf, known)
    with tempfile.TemporaryDirectory() as made:
        for name, text in updates.generated().items():
            Path(made, name).write_text(text, encoding="utf-8")
        return compile_program(
            [*board, *sources, *updates.sources, Path(made, "edgekit_slot.c")],
            [*include, *updates.include, Path(made)],
            target,
            out_elf,
            {**known, "EDGEKIT_UPDATES": "1"},
            small=updates.small_sources,
            where=updates.where,
        )


def board_defines(target: Target) -> dict[str, str]:
    """Return the definitions that the board's main loop and audio queue are compiled with."""
    known = {"BLOCK_SAMPLES": target.audio.block_samples, "BUFFER_BLOCKS": target.policy.buffer_blocks}
    if target.policy.mode == "window":
        known |= {"WINDOW_BLOCKS": target.window_blocks, "EVERY_BLOCKS": target.every_blocks}
    return {f"EDGEKIT_BOARD_{name}": f"{value}u" for name, value in known.items()}


def board_source(target: Target) -> Path:
    """Return the board support for what runs the target's programs."""
    sources = {"unicorn": "board_sim.c", "qemu": "board_semihosting.c", "native": "board_host.c"}
    return BOARD / sources[target.core.simulator]


def compile_program(
    sources: Sequence[Path],
    include: Sequence[Path],
    target: Target,
    out_elf: Path,
    defines: Mapping[str, str] | None = None,
    *,
    small: Sequence[Path] = (),
    where: "FlashMap | None" = None,
) -> Path:
    """Compile any C program with a `main` for the target; arguments and errors as `compile_firmware`.

    The same sources give the same bytes, wherever they lie. `small` are more C files, compiled for size;
    `where` says that the weights lie in a slot of their own.
    """
    with tempfile.TemporaryDirectory() as work:
        if target.core.simulator == "native":
            _link_native(sources, small, include, target, Path(work), out_elf.resolve(), defines or {})
        else:
            script = linker_script(target, where)
            _link_firmware(
                sources, small, include, target, script, Path(work), out_elf.resolve(), defines or {}
            )
    return out_elf


def _link_firmware(
    sources: Sequence[Path],
    small: Sequence[Path],
    include: Sequence[Path],
    target: Target,
    linker_text: str,
    work: Path,
    out_elf: Path,
    defines: Mapping[str, str],
) -> None:
    compiler = [*find_cross_compiler(), *_machine_flags(target)]
    folders = [folder.resolve() for folder in [*include, BOARD]]
    flags = [*_CODE_FLAGS, *_FREESTANDING_FLAGS, *define_flags(defines), *include_flags(folders)]
    flags += ["-fdebug-compilation-dir=."]
    own = [BOARD / "startup.c", BOARD / "memory.c"]
    objects = _compile([*compiler, *flags], [*own, *sources], folders, work)
    objects += _compile([*compiler, *flags, *SIZE_FLAGS], small, folders, work)
    script = work / "firmware.ld"
    script.write_text(linker_text)
    link = ["-Wl,--gc-sections", "-Wl,-e,Reset_Handler", "-Wl,-z,max-page-size=4096", "-T", script.name]
    run_compiler([*compiler, "-O2", *link, *objects, "-o", str(out_elf)], work)


def _link_native(
    sources: Sequence[Path],
    small: Sequence[Path],
    include: Sequence[Path],
    target: Target,
    work: Path,
    out_elf: Path,
    defines: Mapping[str, str],
) -> None:
    compiler = find_host_compiler()
    # `main` is the program's around the firmware.
    known = {"main": "firmware_main", "EDGEKIT_BOARD_STACK_BYTES": f"{target.memory.stack_bytes}u"}
    folders = [folder.resolve() for folder in include]
    # The board's string.h stands in for the C library, which is here.
    flags = [*_CODE_FLAGS, *_NATIVE_FLAGS, *define_flags({**known, **defines}), *include_flags(folders)]
    flags += ["-iquote", str(BOARD.resolve())]
    objects = _compile([*compiler, *flags], [*sources, *small], [*folders, BOARD, work], work)
    run_compiler([*compiler, *_NATIVE_LINK_FLAGS, *objects, "-o", str(out_elf)], work)


def _compile(
    compiler: Sequence[str], sources: Sequence[Path], folders: Sequence[Path], work: Path
) -> list[str]:
    """Compile each source with paths relative to its folder; return the names of the objects."""
    objects = []
    for source in sources:
        objects.append(f"{len(list(work.glob('*.o')))}-{source.stem}.o")
        paths = _prefix_map_flags([source.parent, *folders])
        command = [*compiler, *STRICT_FLAGS, *paths, "-c", str(source.resolve()), "-o", objects[-1]]
        run_compiler(command, work)
    return objects


def _machine_flags(target: Target) -> list[str]:
    # ziglang knows the core's mandatory features only. The FPU is left out on purpose: the firmware has no
    # floating point, and without it the compiler cannot use its registers, which would slow down interrupts.
    extensions = {"portable": "", "dsp": "+dsp", "mve": "+mve"}[target.core.instructions]
    cpu = target.core.cpu.replace("-", "_") + extensions
    return ["-target", "thumb-freestanding-eabi", f"-mcpu={cpu}"]


def _prefix_map_flags(folders: Sequence[Path]) -> list[str]:
    mapped = {str(folder.resolve()): "." for folder in folders}
    zig = find_zig_folder()
    if zig is not None:
        # Zig finds its own headers behind links.
        mapped |= {str(zig): "zig", str(zig.resolve()): "zig"}
    return [f"-ffile-prefix-map={old}={new}" for old, new in mapped.items()]


def linker_script(target: Target, where: "FlashMap | None" = None) -> str:
    """Return the linker script of a target: the memories of its description and the stack first in RAM.

    Args:
        target: The device.
        where: Where the model lies, as an image in a slot; None: anywhere in the flash.
    """
    memory = target.memory
    values = {
        "FLASH_ORIGIN": memory.flash_origin,
        "FLASH_BYTES": memory.flash_bytes if where is None else where.firmware_bytes,
        "RAM_ORIGIN": memory.ram_origin,
        "RAM_BYTES": memory.ram_bytes,
        "STACK_BYTES": memory.stack_bytes,
    }
    text = (BOARD / "firmware.ld.in").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", f"{value:#x}")
    for name, part in _model_parts(where).items():
        text = text.replace(f"@{name}@", part)
    return text


def _model_parts(where: "FlashMap | None") -> dict[str, str]:
    """Return what the linker script says of the weights."""
    weights = "*(.rodata.edgekit_model_data)"
    if where is None:
        return {"MODEL_MEMORY": "", "MODEL": weights, "MODEL_REGION": "FLASH"}
    parts = " ".join(f"KEEP({part})" for part in ("*(.slot_header)", weights, "*(.slot_trailer)"))
    region = f"  SLOT (r) : ORIGIN = {where.slots[0]:#x}, LENGTH = {where.slot_bytes:#x}"
    return {"MODEL_MEMORY": region, "MODEL": parts, "MODEL_REGION": "SLOT"}


def elf_to_binary(elf: Path, out: Path) -> Path:
    """Write the flash image of an ELF file: the loaded bytes from the first flash address on, gaps as 0xFF.

    Args:
        elf: A firmware.
        out: The file to write.

    Returns:
        `out`.
    """
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        segments = [
            (segment["p_paddr"], segment.data())
            for segment in ELFFile(file).iter_segments("PT_LOAD")
            if segment["p_filesz"] > 0
        ]
    origin = min(address for address, _ in segments)
    image = bytearray(b"\xff" * (max(address + len(data) for address, data in segments) - origin))
    for address, data in segments:
        image[address - origin : address - origin + len(data)] = data
    out.write_bytes(image)
    return out
