"""Build folders in miniature."""

from pathlib import Path

from edgekit import artifact
from edgekit.target import Target


def build_folder(folder: Path, elf: Path, target: Target) -> Path:
    """Return a build folder with a firmware and nothing else."""
    folder.mkdir()
    marker = {"schema": 1, "target": target.name, "target_file": target.name}
    artifact.write_json(folder / "build.json", marker)
    with artifact.writing(folder / "firmware", "firmware", {}, {}) as work:
        (work / "firmware.elf").write_bytes(elf.read_bytes())
    return folder
