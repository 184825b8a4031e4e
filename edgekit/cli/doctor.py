"""`edgekit doctor`: is everything here that a build needs?"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata

import click

from edgekit import __version__
from edgekit.cli import options
from edgekit.errors import ConfigError, EdgekitError

PACKAGES = (
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "ziglang",
    "unicorn",
    "capstone",
    "imgtool",
)


@dataclass(frozen=True)
class Check:
    """One thing that a build needs.

    Attributes:
        name: What it is.
        found: Version, place or count; empty where it is missing.
        hint: What to do where it is missing.
    """

    name: str
    found: str
    hint: str

    @property
    def ok(self) -> bool:
        """Whether it is there."""
        return bool(self.found)


@click.command()
@options.json_option
def doctor(as_json: bool) -> int:
    """Check that everything a build needs is here.

    That is versions, compilers, the simulator's core and the data that ships.
    Exit code 2 means that something a build needs is missing.
    """
    checks = [*_packages(), *_compilers(), *_data()]
    if as_json:
        rows = [{"name": c.name, "ok": c.ok, "found": c.found, "hint": c.hint} for c in checks]
        options.print_json({"edgekit": __version__, "python": platform.python_version(), "checks": rows})
    else:
        _print(checks)
    return 0 if all(check.ok for check in checks) else ConfigError.exit_code


def _print(checks: list[Check]) -> None:
    click.echo(f"edgekit {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}")
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = click.style("ok", fg="green") if check.ok else click.style("missing", fg="red")
        click.echo(f"{check.name:<{width}}  {mark}  {check.found or check.hint}")


def _packages() -> list[Check]:
    return [Check(name, _version(name), f"run pip install {name}") for name in PACKAGES]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _compilers() -> list[Check]:
    from codegen.toolchain import find_cross_compiler
    from edgekit.toolchain import find_host_compiler

    return [
        _found("C compiler", lambda: " ".join(find_host_compiler())),
        _found("Arm compiler", lambda: " ".join(find_cross_compiler())),
    ]


def _data() -> list[Check]:
    from distill.registry import shipped_variants
    from edgekit.audio import DEFAULT_AUDIO, find_audio
    from edgekit.targets import list_targets, load_target
    from wavllm_teacher.registry import list_teachers

    return [
        _found("speech clips", lambda: f"{len(find_audio([DEFAULT_AUDIO]))} files"),
        _found("targets", lambda: ", ".join(load_target(name).name for name in list_targets())),
        *(_found(f"teacher {name}", partial(_teacher, name)) for name in list_teachers()),
        _found("students", lambda: ", ".join(shipped_variants())),
    ]


def _teacher(name: str) -> str:
    from wavllm_teacher.registry import teacher_digest

    return teacher_digest(name)[:12]


def _found(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name, find(), "")
    except EdgekitError as error:
        return Check(name, "", f"{error.what}: {error.hint}")
    except OSError as error:
        return Check(name, "", f"{error.filename}: {error.strerror}: install edgekit again")
