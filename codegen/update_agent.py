"""The update agent's C: its files, and what they take on a device.

None of it is in the audio path, so firmware compiles it for size: `compile_program(..., small=...)`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from codegen.toolchain import BOARD, SIZE_FLAGS, find_cross_compiler
from edgekit.toolchain import STRICT_FLAGS, include_flags, run_compiler

AGENT = Path(__file__).parent / "agent"
"""The agent's folder; `ag_*.c` is for devices, `host_*.c` for this machine."""

_CODE_FLAGS = ("-ffreestanding", "-fomit-frame-pointer", "-ffunction-sections", "-fdata-sections")
_CRYPTO = ("ag_ed25519.c", "ag_field.c", "ag_sha256.c", "ag_sha512.c")
_PLACED = (".text", ".rodata", ".data")


def crypto_sources() -> list[Path]:
    """Return the C files of hashes and signatures."""
    return [AGENT / name for name in _CRYPTO]


def agent_sources() -> list[Path]:
    """Return the agent's C files without hashes and signatures."""
    return sorted(path for path in AGENT.glob("ag_*.c") if path.name not in _CRYPTO)


def code_bytes(sources: Sequence[Path], cpu: str = "cortex_m33") -> dict[str, int]:
    """Compile C files for a core and return the bytes of flash that each takes: code and constants.

    Args:
        sources: Files of the agent.
        cpu: The core, as Zig names it.

    Raises:
        ConfigError: If there is no cross compiler, or a file does not compile.
    """
    compiler = [*find_cross_compiler(), "-target", "thumb-freestanding-eabi", f"-mcpu={cpu}"]
    flags = [*STRICT_FLAGS, *_CODE_FLAGS, *SIZE_FLAGS, *include_flags([AGENT, BOARD])]
    sizes = {}
    with tempfile.TemporaryDirectory() as work:
        for source in sources:
            compiled = Path(work, f"{source.stem}.o")
            run_compiler([*compiler, *flags, "-c", str(source), "-o", str(compiled)])
            sizes[source.name] = _placed_bytes(compiled)
    return sizes


def _placed_bytes(compiled: Path) -> int:
    from elftools.elf.elffile import ELFFile

    with compiled.open("rb") as file:
        sections = ELFFile(file).iter_sections()
        return sum(int(part["sh_size"]) for part in sections if part.name.startswith(_PLACED))
