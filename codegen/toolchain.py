"""Compiling firmware: from C sources to an ELF file and a flash image for a target."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import ConfigError
from edgekit.target import Target
from edgekit.toolchain import (
    STRICT_FLAGS,
    compile_host,
    define_flags,
    find_zig,
    find_zig_folder,
    include_flags,
    run_compiler,
)

__all__ = [
    "BOARD",
    "SIZE_FLAGS",
    "board_source",
    "compile_firmware",
    "compile_host",
    "compile_program",
    "elf_to_binary",
    "find_cross_compiler",
]

BOARD = Path(__file__).parent / "board"
"""Hand-written firmware around the model: start-up, memory functions, board support, main."""

_CODE_FLAGS = (
    "-O2",
    "-g",
    "-ffreestanding",
    "-fomit-frame-pointer",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
)

SIZE_FLAGS = ("-Os", "-Xclang", "-Oz")
"""Clang's smallest code; Zig takes -Oz for -Os unless it is told so."""


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
) -> Path:
    """Compile a model's engine with the board's main loop into a firmware.

    Args:
        sources: The engine's C files (see ARCHITECTURE.md for the C interface).
        include: Its header folders, with `edgekit_model.h`.
        target: The device.
        out_elf: The ELF file to write; has debug information and no absolute path.
        defines: Preprocessor definitions, `EDGEKIT_TRACE` for example.
        main: The board's main loop: of a model that hears audio, or `network_main.c`.

    Returns:
        `out_elf`.

    Raises:
        ConfigError: If there is no cross compiler, or the C does not compile or fit.
    """
    board = [BOARD / main, board_source(target)]
    return compile_program(
        [*board, *sources], include, target, out_elf, {**_policy(target), **(defines or {})}
    )


def _policy(target: Target) -> dict[str, str]:
    """Return what the board's main loop has to know of the target."""
    known = {"BLOCK_SAMPLES": target.audio.block_samples}
    if target.policy.mode == "window":
        known |= {"WINDOW_BLOCKS": target.window_blocks, "EVERY_BLOCKS": target.every_blocks}
    return {f"EDGEKIT_BOARD_{name}": f"{value}u" for name, value in known.items()}


def board_source(target: Target) -> Path:
    """Return the board support for what simulates the target's core."""
    return BOARD / ("board_semihosting.c" if target.core.simulator == "qemu" else "board_sim.c")


def compile_program(
    sources: Sequence[Path],
    include: Sequence[Path],
    target: Target,
    out_elf: Path,
    defines: Mapping[str, str] | None = None,
    *,
    small: Sequence[Path] = (),
) -> Path:
    """Compile any C program with a `main` for the target; arguments and errors as `compile_firmware`.

    The same sources give the same bytes, wherever they lie. `small` are more C files, compiled for size.
    """
    compiler = [*find_cross_compiler(), *_machine_flags(target)]
    folders = [folder.resolve() for folder in [*include, BOARD]]
    flags = [*STRICT_FLAGS, *_CODE_FLAGS, *define_flags(defines or {}), *include_flags(folders)]
    with tempfile.TemporaryDirectory() as work:
        objects = []
        fast = [BOARD / "startup.c", BOARD / "memory.c", *sources]
        for index, source in enumerate([*fast, *small]):
            objects.append(f"{index}-{source.stem}.o")
            paths = _prefix_map_flags([source.parent, *folders])
            own = [*paths, *(() if index < len(fast) else SIZE_FLAGS)]
            run_compiler(
                [*compiler, *flags, *own, "-c", str(source.resolve()), "-o", objects[-1]], Path(work)
            )
        script = Path(work, "firmware.ld")
        script.write_text(linker_script(target))
        link = ["-Wl,--gc-sections", "-Wl,-e,Reset_Handler", "-Wl,-z,max-page-size=4096", "-T", script.name]
        run_compiler([*compiler, "-O2", *link, *objects, "-o", str(out_elf.resolve())], Path(work))
    return out_elf


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
    return [*(f"-ffile-prefix-map={old}={new}" for old, new in mapped.items()), "-fdebug-compilation-dir=."]


def linker_script(target: Target) -> str:
    """Return the linker script of a target: the memories of its description and the stack first in RAM."""
    memory = target.memory
    values = {
        "FLASH_ORIGIN": memory.flash_origin,
        "FLASH_BYTES": memory.flash_bytes,
        "RAM_ORIGIN": memory.ram_origin,
        "RAM_BYTES": memory.ram_bytes,
        "STACK_BYTES": memory.stack_bytes,
    }
    text = (BOARD / "firmware.ld.in").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", f"{value:#x}")
    return text


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
