"""The report as one HTML page that needs nothing else: no script, no font, no picture, no network."""

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from edgekit.metrics import DIMENSIONS
from edgekit.report import charts, words
from edgekit.report.diff import Diff, cells_of, label_of
from edgekit.report.model import Report
from edgekit.report.rows import LayerCost

TEMPLATES = Path(__file__).parent / "templates"
MOST_SYMBOLS = 12


def render_page(report: Report, diff: Diff | None = None) -> str:
    """Return the page; the same report gives the same bytes.

    Args:
        report: Of a build.
        diff: What changed since another, if that is asked for.
    """
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            diff=diff,
            gauges=[charts.gauge_of(verdict) for verdict in report.verdicts],
            maps=[charts.ram_map(report), charts.flash_map(report)],
            places=_places(report),
            parts=_parts(report.layers),
            lanes=charts.lanes_of(report.schedule),
            learning=charts.learning_charts(report.learning),
            costs=words.costs_beside(report),
            exceeded=words.exceeded_of(report),
            settings=_settings(report),
        )
    )


def _places(report: Report) -> tuple[charts.Place, ...]:
    memory = report.memory
    return (
        charts.arena_places(memory.arena, memory.figures["arena_size_bytes"].value or 1)
        if memory.arena
        else ()
    )


def _parts(layers: tuple[LayerCost, ...]) -> dict[str, float]:
    """Return the cycles of each part of the firmware, in order; nothing where parts are not told apart."""
    totals: dict[str, float] = {}
    for layer in (layer for layer in layers if layer.part != "all"):
        totals[layer.part] = totals.get(layer.part, 0) + layer.cycles_per_second_of_audio
    return totals


def _settings(report: Report) -> dict[str, str]:
    """Return every setting of every stage as text, by stage and name."""
    found: dict[str, str] = {}
    for stage, params in report.provenance["params"].items():
        for name, value in params.items():
            pairs = value.items() if isinstance(value, dict) else [("", value)]
            found |= {f"{stage}: {name}{inner and '.'}{inner}": str(each) for inner, each in pairs}
    return found


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        dimensions=DIMENSIONS,
        comparisons=words.COMPARISONS,
        most_symbols=MOST_SYMBOLS,
        shares=charts.shares,
        measured_on=words.measured_on,
    )
    environment.filters.update(_filters())
    return environment


def _filters() -> dict[str, Any]:
    return {
        "name": words.name_of,
        "in_time": words.in_time_of,
        "unit": lambda key: _micro(words.unit_of(key)),
        "micro": _micro,
        "number": words.number,
        "short": words.short,
        "shown": words.shown,
        "interval": words.interval_of,
        "margin": words.margin_of,
        "over": words.over_of,
        "power": words.power_of,
        "ccc": words.agreement,
        "cells": cells_of,
        "label": label_of,
    }


def _micro(text: str) -> str:
    return text.replace("uW", "µW")
