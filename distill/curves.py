"""The learning curve of a training as a picture."""

import io
from typing import TYPE_CHECKING

from distill.config import Loss
from distill.trainer import HISTORY_HEADER
from edgekit.metrics import DIMENSIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"arousal": "#b4432f", "dominance": "#3d6f9e", "valence": "#4d8b57"}


LOSS_NAMES: dict[Loss, str] = {"ccc": "sum of 1 - CCC", "mse": "sum of mean squared errors"}


def history_svg(history: list[list[float | None]], loss_kind: Loss) -> str:
    """Return the learning curve as SVG: the loss on crops, and the agreement on development clips.

    The same history gives the same bytes.

    Args:
        history: Rows of `HISTORY_HEADER`; None where a value does not exist.
        loss_kind: What training made small.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    column = dict(zip(HISTORY_HEADER.split(","), zip(*history, strict=True), strict=True))
    with rc_context({"svg.hashsalt": "edgekit", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 3), layout="constrained")
        loss, agreement = figure.subplots(1, 2)
        _draw(loss, column["step"], column["train_loss"], "#555555", "")
        loss.set(title="Loss on training crops", xlabel="step", ylabel=LOSS_NAMES[loss_kind], ylim=(0, None))
        for name in DIMENSIONS:
            _draw(agreement, column["step"], column[f"dev_{name}"], COLOURS[name], name)
        agreement.set(title="Agreement on development clips", xlabel="step", ylabel="CCC", ylim=(None, 1))
        if agreement.lines:
            figure.legend(*agreement.get_legend_handles_labels(), frameon=False, loc="outside right center")
        for axes in (loss, agreement):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _draw(
    axes: "Axes", steps: tuple[float | None, ...], values: tuple[float | None, ...], colour: str, label: str
) -> None:
    points = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=".", markersize=4)
