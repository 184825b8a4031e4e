"""The experiments, each a row of figures."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.teachers.features import Corpus
from benchmarks.teachers.protocol import (
    LAYER_CHOICES,
    Recipe,
    across,
    chosen_layers,
    clips_of,
    cross_validated,
    scores,
    unweighted_recall,
)

ASSIGNMENTS = (0, 1, 2)

WITHIN = {
    "ridge, states 2+3, clean (baseline)": Recipe(layers=(2, 3), copies=1, model="ridge"),
    "ridge, clean": Recipe(copies=1, model="ridge"),
    "ridge, clean and augmented": Recipe(model="ridge"),
    "logistic probe, states 2+3, clean, C = 0.01 (baseline)": Recipe(layers=(2, 3), copies=1, strength=0.01),
    "logistic probe, clean": Recipe(copies=1),
    "the teacher's head, clean and augmented": Recipe(),
}

ACROSS_BASE = "base"
MODELS: dict[str, dict[str, Any]] = {
    "ridge instead of softmax": {"model": "ridge"},
    "ridge, clean clips only, not centred": {"model": "ridge", "copies": 1, "centring": "none"},
}
TRANSDUCTIVE: dict[str, dict[str, Any]] = {
    "centred by corpus": {"centring": "corpus"},
    "centred by speaker and scaled": {"centring": "speaker, scaled"},
    "clean clips only": {"copies": 1},
    "means only": {"deviation": False},
    "trimmed and levelled": {"trimmed": True},
    "means only, trimmed and levelled": {"trimmed": True, "deviation": False},
    "ten times weaker penalty": {"strength": 1.0},
    "ten times stronger penalty": {"strength": 0.01},
}
INDUCTIVE: dict[str, dict[str, Any]] = {
    "not centred": {"centring": "none"},
    "not centred, clean clips only": {"centring": "none", "copies": 1},
    "not centred, means only": {"centring": "none", "deviation": False},
    "not centred, trimmed and levelled": {"centring": "none", "trimmed": True},
    "not centred, means only, trimmed and levelled": {
        "centring": "none",
        "trimmed": True,
        "deviation": False,
    },
}


@dataclass(frozen=True)
class Within:
    """Held-out speakers of one corpus: per fold assignment (A, D, V), and recall of the categories."""

    name: str
    ccc: tuple[tuple[float, ...], ...]
    recall: tuple[float, ...]


@dataclass(frozen=True)
class Across:
    """One corpus to the other: (A, D, V) of RAVDESS to EmoDB and of EmoDB to RAVDESS.

    `common` is of the test clips whose category the training corpus has, too.
    """

    name: str
    ccc: tuple[tuple[float, ...], tuple[float, ...]]
    common: tuple[tuple[float, ...], tuple[float, ...]]

    def means(self) -> NDArray[np.float64]:
        """Return the mean CCC of both directions."""
        return np.asarray(np.mean(self.ccc, axis=1))


def states_name(layers: tuple[int, ...]) -> str:
    """Return how a set of hidden states is written.

    Example:
        >>> states_name((2, 3))
        'states 2+3'
    """
    return ("states " if len(layers) > 1 else "state ") + "+".join(map(str, layers))


def note(line: str) -> None:
    """Say on stderr what is done."""
    print(line, file=sys.stderr, flush=True)


def within(
    name: str, target: Corpus, recipe: Recipe, seeds: tuple[int, ...], extra: tuple[Corpus, ...] = ()
) -> Within:
    """Return one row of cross-validation over held-out speakers."""
    clips = clips_of(target, recipe)
    others = [clips_of(corpus, recipe) for corpus in extra]
    made = [cross_validated(clips, recipe, seed, others) for seed in seeds]
    recall = tuple(unweighted_recall(m.categories, clips.categories) for m in made if recipe.model != "ridge")
    row = Within(name, tuple(scores(m, clips) for m in made), recall)
    note(f"{target.name}: {row}")
    return row


def both_ways(name: str, emodb: Corpus, ravdess: Corpus, recipes: tuple[Recipe, Recipe]) -> Across:
    """Return one row across corpora; recipe 0 learns from RAVDESS, recipe 1 from EmoDB."""
    ccc, common = [], []
    for source, target, recipe in zip((ravdess, emodb), (emodb, ravdess), recipes, strict=True):
        made = across(source, target, recipe)
        clips = clips_of(target, replace(recipe, copies=1))
        shared = np.isin(clips.categories, np.unique(source.column("emotion")))
        ccc.append(scores(made, clips))
        common.append(scores(replace(made, adv=made.adv[shared]), clips.only(shared)))
    row = Across(name, (ccc[0], ccc[1]), (common[0], common[1]))
    note(str(row))
    return row


def emodb_rows(emodb: Corpus) -> list[Within]:
    """Return EmoDB's table: every fold assignment."""
    return [within(name, emodb, recipe, ASSIGNMENTS) for name, recipe in WITHIN.items()]


def multi_corpus_rows(emodb: Corpus, ravdess: Corpus) -> tuple[list[Within], list[Within]]:
    """Return both corpora's tables with and without the other corpus in training, one fold assignment."""
    seeds = ASSIGNMENTS[:1]
    ridge = within("ridge, state 3, clean (baseline)", ravdess, Recipe((3,), 1, "ridge"), seeds)
    clean = within("softmax, RAVDESS, clean", ravdess, Recipe(copies=1), seeds)
    alone = within("softmax, RAVDESS, clean and augmented", ravdess, Recipe(), seeds)
    joined = within("softmax, RAVDESS and EmoDB, clean and augmented", ravdess, Recipe(), seeds, (emodb,))
    german = within("softmax, EmoDB, clean and augmented", emodb, Recipe(), seeds)
    both = within("softmax, EmoDB and RAVDESS, clean and augmented", emodb, Recipe(), seeds, (ravdess,))
    return [ridge, clean, alone, joined], [german, both]


def base_recipes(emodb: Corpus, ravdess: Corpus) -> tuple[Recipe, Recipe]:
    """Return the recipe of each direction; its layers are chosen inside the training corpus alone."""
    recipe = Recipe(centring="speaker")
    chosen = tuple(replace(recipe, layers=chosen_layers(source, recipe)) for source in (ravdess, emodb))
    note(f"chosen: {[r.layers for r in chosen]}")
    return chosen[0], chosen[1]


def across_rows(emodb: Corpus, ravdess: Corpus, base: tuple[Recipe, Recipe]) -> dict[str, list[Across]]:
    """Return the tables across corpora: each row changes the base in what its name says."""
    tables = {"base": [both_ways(ACROSS_BASE, emodb, ravdess, base)]}
    for title, changes in (("model", MODELS), ("transductive", TRANSDUCTIVE), ("inductive", INDUCTIVE)):
        tables[title] = [
            both_ways(name, emodb, ravdess, (replace(base[0], **change), replace(base[1], **change)))
            for name, change in changes.items()
        ]
    tables["layers"] = []
    for layers in LAYER_CHOICES:
        recipes = (replace(base[0], layers=layers), replace(base[1], layers=layers))
        tables["layers"].append(both_ways(states_name(layers), emodb, ravdess, recipes))
    return tables
