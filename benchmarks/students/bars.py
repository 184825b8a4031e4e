"""The students that ship beside the bars that they were made for."""

from collections.abc import Callable, Mapping

from benchmarks.students.agreement import EMODB, NOISY, NOISY_HEARD, RAVDESS, TITLES, Agreement
from benchmarks.tables import line
from edgekit.metrics import DIMENSIONS

LEAST = {EMODB: (0.88, 0.82, 0.60), RAVDESS: (0.75, 0.65, 0.50)}
"""Set to least CCC of each dimension."""
MOST_LOST_IN_NOISE = 0.08
"""Of the CCC of arousal."""
MOST_LOST_BY_STREAMING = 0.02
"""Of every CCC, by the causal level against that of the utterance."""
MOST_LOST_BY_HOP = 0.04
"""Of every CCC, by hop 128 against hop 32."""
CAUSAL, UTTERANCE, HOP_128 = "wav2small-causal", "wav2small-utterance", "wav2small-hop128-causal"
SHIPPED = (CAUSAL, UTTERANCE, HOP_128)


def section(found: Mapping[str, Agreement]) -> list[str]:
    """Return the lines of the section; none without all students that ship.

    Args:
        found: Name of a student to set, then teacher, to agreement.
    """
    if not set(SHIPPED) <= set(found):
        return []
    return [
        "## Against the bars",
        "",
        f"{' / '.join(DIMENSIONS)}, **bold** where the bar is missed. Of noise (babble at 5 dB, a 0.5 s",
        "room), what counts is how much of the agreement in arousal is lost.",
        "",
        line(["bar", *(f"{name}, {teacher}" for name in SHIPPED for teacher in found[name][EMODB])]),
        line(["---"] * (1 + sum(len(found[name][EMODB]) for name in SHIPPED))),
        *(_row(found, what, cell) for what, cell in _bars().items()),
        "",
    ]


_Cell = Callable[[Mapping[str, Agreement], str, str], str]
"""Agreements, student and teacher to a cell; empty where a bar is not about the student."""


def _bars() -> dict[str, _Cell]:
    def least(of_set: str) -> _Cell:
        return lambda found, name, t: " / ".join(
            _marked(ccc, ccc >= bar)
            for ccc, bar in zip(found[name][of_set][t].values(), LEAST[of_set], strict=True)
        )

    def in_noise(of_set: str) -> _Cell:
        def cell(found: Mapping[str, Agreement], name: str, t: str) -> str:
            lost = found[name][EMODB][t]["arousal"] - found[name][of_set][t]["arousal"]
            return _marked(lost, lost <= MOST_LOST_IN_NOISE)

        return cell

    def against(other: str, student: str, most: float) -> _Cell:
        def cell(found: Mapping[str, Agreement], name: str, t: str) -> str:
            pairs = zip(found[other][EMODB][t].values(), found[name][EMODB][t].values(), strict=True)
            lost = [before - after for before, after in pairs]
            return " / ".join(_marked(value, value <= most) for value in lost) if name == student else ""

        return cell

    return {
        **{f"{TITLES[s]}: at least {' / '.join(map(_figure, bars))}": least(s) for s, bars in LEAST.items()},
        f"lost in noise, the teacher hearing it too: at most {_figure(MOST_LOST_IN_NOISE)}": in_noise(
            NOISY_HEARD
        ),
        f"lost in noise, labels of the clean clip: at most {_figure(MOST_LOST_IN_NOISE)}": in_noise(NOISY),
        f"lost by a causal level, EmoDB: at most {_figure(MOST_LOST_BY_STREAMING)}": against(
            UTTERANCE, CAUSAL, MOST_LOST_BY_STREAMING
        ),
        f"lost by hop 128, EmoDB: at most {_figure(MOST_LOST_BY_HOP)}": against(
            CAUSAL, HOP_128, MOST_LOST_BY_HOP
        ),
    }


def _row(found: Mapping[str, Agreement], what: str, cell: _Cell) -> str:
    return line([what, *(cell(found, name, t) for name in SHIPPED for t in found[name][EMODB])])


def _figure(value: float) -> str:
    return f"{value:.2f}"


def _marked(value: float, held: bool) -> str:
    return f"{value:.3f}" if held else f"**{value:.3f}**"
