"""C compilers: finding them, running them, and where compiled helpers are cached."""

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.errors import ConfigError

STRICT_FLAGS = (
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
)
"""What all C of edgekit, written or generated, must compile clean under."""

_SHOWN_ERROR_LINES = 6


@functools.cache
def cache_folder() -> Path:
    """Return a writable folder for compiled helpers and compiler caches.

    It is the user's cache folder, or, where that cannot be written, a new temporary one: never a folder
    at a predictable place that others can write, because edgekit loads code from it.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "edgekit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix="edgekit-"))


def find_zig_folder() -> Path | None:
    """Return the folder of the `ziglang` package, or None where it is not installed."""
    spec = importlib.util.find_spec("ziglang")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def find_zig() -> list[str] | None:
    """Return the command of the Zig tool of the `ziglang` package, or None where it is not installed."""
    return None if find_zig_folder() is None else [sys.executable, "-m", "ziglang"]


def find_host_compiler() -> list[str]:
    """Return the command of a C compiler for this machine: `$CC`, cc, gcc, clang, or Zig's.

    Raises:
        ConfigError: If `$CC` is not there, or there is none at all.
    """
    wanted = shlex.split(os.environ.get("CC", ""))
    if wanted:
        if shutil.which(wanted[0]) is None:
            raise ConfigError(f"the compiler of $CC, {wanted[0]}, is not there", "correct or unset CC")
        return wanted
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name) is not None:
            return [name]
    zig = find_zig()
    if zig is None:
        raise ConfigError("no C compiler found (cc, gcc, clang, zig)", "run pip install ziglang")
    return [*zig, "cc"]


def run_compiler(command: Sequence[str], folder: Path | None = None) -> None:
    """Run one compiler or linker command.

    Args:
        command: Program and arguments.
        folder: Working folder; the current one if None.

    Raises:
        ConfigError: If it cannot be run or fails; the compiler's first error lines are in the message.
    """
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(cache_folder() / "zig")}
    caches["ZIG_LOCAL_CACHE_DIR"] = caches["ZIG_GLOBAL_CACHE_DIR"]
    try:
        done = subprocess.run(
            list(command),
            cwd=folder,
            env={**caches, **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot run {command[0]} ({error.strerror})", "install a C compiler or set CC"
        ) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line]
        shown = "; ".join((lines or done.stderr.splitlines())[:_SHOWN_ERROR_LINES])
        raise ConfigError(
            f"C compilation failed: {shown}", "mend the C source, then run the same command again"
        )


def define_flags(defines: Mapping[str, str]) -> list[str]:
    """Return the compiler flags of preprocessor definitions.

    Example:
        >>> define_flags({"EDGEKIT_TRACE": "1"})
        ['-DEDGEKIT_TRACE=1']
    """
    return [f"-D{name}={value}" for name, value in defines.items()]


def include_flags(folders: Sequence[Path]) -> list[str]:
    """Return the compiler flags that search these folders for headers."""
    return [f"-I{folder}" for folder in folders]


def compile_host(
    sources: Sequence[Path],
    out: Path,
    defines: Mapping[str, str] | None = None,
    *,
    include: Sequence[Path] = (),
    shared: bool = True,
    sanitize: bool = False,
) -> Path:
    """Compile C for this machine, under `STRICT_FLAGS` at -O2.

    Args:
        sources: C files.
        out: The file to write.
        defines: Preprocessor definitions.
        include: Header folders.
        shared: A shared library; else a program.
        sanitize: Build with the address and undefined-behaviour sanitizers, every finding fatal. A shared
            library with them loads only into a program that has them too.

    Returns:
        `out`.

    Raises:
        ConfigError: If there is no compiler, it fails, or it has no sanitizers.
    """
    compiler = find_host_compiler()
    if sanitize and "ziglang" in compiler:
        raise ConfigError("the C compiler of ziglang has no address sanitizer", "install gcc or clang")
    flags = [*STRICT_FLAGS, "-O2", "-g"]
    flags += ["-shared", "-fPIC"] if shared else []
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else []
    flags += define_flags(defines or {}) + include_flags(include)
    run_compiler([*compiler, *flags, *map(str, sources), "-o", str(out)])
    return out
