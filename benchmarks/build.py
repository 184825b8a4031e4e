"""How long `edgekit build` takes on this machine, and how good its student is: python benchmarks/build.py.

Prints Markdown: a first build of the default, a second one with nothing changed, and --help; and how far the
student of the build is from the one that ships, on the same test voices.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from distill.registry import SHIPPED, variant_name

VARIANT = ("student", "level", "hop")
EXCEEDED = 4
"""Exit code of a complete build that is over a budget."""


def timed(arguments: list[str]) -> float:
    """Run edgekit and return the seconds it took; CalledProcessError where it failed."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "edgekit.cli", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode not in (0, EXCEEDED):
        raise subprocess.CalledProcessError(done.returncode, command)
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        build = ["build", "--target", "hearing-aid", "--out", str(Path(folder, "out"))]
        first_s, second_s, help_s = timed(build), timed(build), timed(["--help"])
        built = json.loads(Path(folder, "out", "student", "metrics.json").read_text())
    print("| what | seconds | of the first build |\n| --- | --- | --- |")
    for name, seconds in (("first build", first_s), ("second build", second_s), ("--help", help_s)):
        print(f"| {name} | {seconds:.1f} | {seconds / first_s:.3f} |")
    shipped = json.loads(
        (SHIPPED / variant_name(*(built[key] for key in VARIANT)) / "metrics.json").read_text()
    )
    print("\n| CCC, synthetic test voices | ships | built |\n| --- | --- | --- |")
    for dimension, ccc in shipped["ccc"]["synthetic"]["compact"].items():
        print(f"| {dimension} | {ccc:.3f} | {built['student_vs_teacher'][dimension]:.3f} |")


if __name__ == "__main__":
    main()
