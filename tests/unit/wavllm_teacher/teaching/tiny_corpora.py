"""Tiny labelled corpora, a tiny dual encoder, and settings that train it in a moment."""

from collections.abc import Callable
from pathlib import Path

from unit.wavllm_teacher.tiny import write_corpus

from edgekit.metrics import DIMENSIONS
from wavllm_teacher.dual_encoder import DualShape
from wavllm_teacher.teaching.config import TeachConfig

TINY = DualShape(
    whisper_hidden=8, wavlm_hidden=8, channels=6, bottleneck=3, projection=6, fusion=8, attention=4
)
SPLITS = ["train"] * 6 + ["dev"] * 3 + ["test"] * 3
Rows = list[list[str]]


def labelled_corpus(folder: Path, splits=SPLITS, seconds: float = 0.4) -> Path:
    return write_corpus(folder, [(f"{i:02d}.wav", split) for i, split in enumerate(splits)], seconds)


def config_of(*corpora: Path, **changed) -> TeachConfig:
    settings = {"single_steps": 4, "joint_steps": 4, "copies": 2, "crop_frames": 12, "evaluate_every": 2}
    return TeachConfig(corpora, **{**settings, **changed})


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit_table(folder: Path, change: Callable[[Rows], Rows]) -> None:
    table = folder / "labels.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("".join(",".join(row) + "\n" for row in change(rows)))


def add_column(folder: Path, name: str, values: str | list[str]) -> None:
    def change(rows: Rows) -> Rows:
        column = [values] * (len(rows) - 1) if isinstance(values, str) else values
        return [[*row, value] for row, value in zip(rows, [name, *column], strict=True)]

    edit_table(folder, change)


def set_value(folder: Path, column: str, value: str, line: int = 3) -> None:
    def change(rows: Rows) -> Rows:
        place = rows[0].index(column)
        changed = [*rows[line][:place], value, *rows[line][place + 1 :]]
        return [*rows[:line], changed, *rows[line + 1 :]]

    edit_table(folder, change)


def rename_split(folder: Path, split: str, other: str) -> None:
    def change(rows: Rows) -> Rows:
        place = rows[0].index("split")
        return [[*r[:place], other if r[place] == split else r[place], *r[place + 1 :]] for r in rows]

    edit_table(folder, change)


def remove_column(folder: Path, name: str) -> None:
    def change(rows: Rows) -> Rows:
        place = rows[0].index(name)
        return [[*row[:place], *row[place + 1 :]] for row in rows]

    edit_table(folder, change)


def remove_labels(folder: Path, *splits: str) -> None:
    def change(rows: Rows) -> Rows:
        dropped = {rows[0].index(name) for name in DIMENSIONS}
        place = rows[0].index("split")
        return [
            ["" if n in dropped else value for n, value in enumerate(row)] if row[place] in splits else row
            for row in rows
        ]

    edit_table(folder, change)


def add_row(folder: Path, **values: str) -> None:
    edit_table(folder, lambda rows: [*rows, [values.get(name, "0") for name in rows[0]]])
