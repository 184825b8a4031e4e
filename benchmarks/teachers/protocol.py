"""Who trains, who tests, and how a prediction is made: folds of speakers, and one corpus to another."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.teachers.features import COPIES, Corpus
from edgekit.metrics import adv_ccc
from wavllm_teacher.head import category_means, fit_head, one_hot
from wavllm_teacher.whisper import LAYERS

FOLDS = 5
RIDGE_PENALTY = 300.0
LAYER_CHOICES = ((2,), (3,), (4,), (5,), (6,), (2, 3), (2, 3, 4), (3, 4, 5))
SMALLEST_SCALE = 1e-3

Floats = NDArray[np.float32]
Words = NDArray[np.str_]


@dataclass(frozen=True)
class Recipe:
    """How features are made and what is fitted to them.

    Attributes:
        layers: Hidden states of the encoder, 0 to 6.
        copies: Versions of every training clip: itself and augmented ones; test clips have one.
        model: "softmax" (expected A/D/V over categories) or "ridge" (A/D/V directly).
        centring: "none", or the mean of each "corpus" or "speaker" is subtracted from the features,
            or "speaker, scaled": divided by the speaker's standard deviation, too.
        deviation: Pool standard deviations over time beside the means.
        trimmed: Silence at both ends cut and the level set, before the encoder.
        strength: Inverse penalty of the softmax for one copy.
    """

    layers: tuple[int, ...] = LAYERS
    copies: int = COPIES
    model: str = "softmax"
    centring: str = "none"
    deviation: bool = True
    trimmed: bool = False
    strength: float = 0.1


@dataclass(frozen=True)
class Clips:
    """Features and labels of the same clips: (copies, N, P), (N, 3), N categories, N speakers."""

    features: Floats
    adv: Floats
    categories: Words
    speakers: Words

    def only(self, chosen: NDArray[np.bool_]) -> "Clips":
        """Return the chosen clips."""
        return Clips(
            self.features[:, chosen], self.adv[chosen], self.categories[chosen], self.speakers[chosen]
        )


@dataclass(frozen=True)
class Prediction:
    """(N, 3) A/D/V and the N likeliest categories; a ridge names none."""

    adv: Floats
    categories: Words


def clips_of(corpus: Corpus, recipe: Recipe) -> Clips:
    """Return all clips of a corpus with the recipe's features."""
    features = corpus.pooled(recipe.copies, recipe.layers, deviation=recipe.deviation, trimmed=recipe.trimmed)
    speakers = corpus.column("speaker")
    groups = speakers if recipe.centring.startswith("speaker") else np.full(len(speakers), corpus.name)
    if recipe.centring != "none":
        for group in np.unique(groups):
            own = features[:, groups == group]
            own = own - own.mean(1, keepdims=True)
            if recipe.centring.endswith("scaled"):
                own = own / (own.std(1, keepdims=True) + SMALLEST_SCALE)
            features[:, groups == group] = own
    return Clips(features, corpus.adv, corpus.column("emotion"), speakers)


def predict(parts: list[Clips], test: Clips, recipe: Recipe) -> Prediction:
    """Fit on all copies of the clips of `parts`, predict copy 0 of `test`."""
    rows = np.concatenate([part.features.reshape(-1, part.features.shape[-1]) for part in parts])
    adv = np.concatenate([np.tile(part.adv, (recipe.copies, 1)) for part in parts])
    if recipe.model == "ridge":
        return Prediction(_ridge(rows, adv, test.features[0], RIDGE_PENALTY * recipe.copies), np.array([]))
    categories = np.concatenate([np.tile(part.categories, recipe.copies) for part in parts])
    wanted = one_hot(categories.tolist())
    head = fit_head(rows, wanted, category_means(wanted, adv), copies=recipe.copies, strength=recipe.strength)
    with torch.no_grad():
        scores = head.scores(torch.from_numpy(test.features[0]))
        names = np.unique(categories)[scores.argmax(1).numpy()]
        return Prediction(head.expected(scores).numpy(), names)


def _ridge(rows: Floats, adv: Floats, test: Floats, penalty: float) -> Floats:
    """Return ridge predictions; features standardised, the intercept free."""
    mean, scale = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64) + SMALLEST_SCALE
    z, middle = (rows - mean) / scale, adv.mean(0, dtype=np.float64)
    normal = z.T @ z + penalty * np.eye(z.shape[1])
    weights = np.linalg.solve(normal, z.T @ (adv - middle))
    return np.asarray((test - mean) / scale @ weights + middle, np.float32)


def speaker_folds(speakers: Words, seed: int) -> list[Words]:
    """Return the test speakers of each fold, dealt out by a generator with this seed."""
    shuffled = np.random.default_rng(seed).permutation(np.unique(speakers))
    return np.array_split(shuffled, FOLDS)


def cross_validated(target: Clips, recipe: Recipe, seed: int, extra: list[Clips]) -> Prediction:
    """Return held-out predictions for all clips; `extra` corpora train in every fold."""
    adv = np.empty_like(target.adv)
    categories = target.categories.astype(object)
    for names in speaker_folds(target.speakers, seed):
        held_out = np.isin(target.speakers, names)
        made = predict([target.only(~held_out), *extra], target.only(held_out), recipe)
        adv[held_out] = made.adv
        categories[held_out] = made.categories if made.categories.size else ""
    return Prediction(adv, categories.astype(str))


def across(source: Corpus, target: Corpus, recipe: Recipe) -> Prediction:
    """Fit on all of one corpus and predict all of the other."""
    test = clips_of(target, replace(recipe, copies=1))
    return predict([clips_of(source, recipe)], test, recipe)


def chosen_layers(source: Corpus, recipe: Recipe) -> tuple[int, ...]:
    """Return the layers with the best mean CCC over held-out speakers of the training corpus itself."""

    def score(layers: tuple[int, ...]) -> float:
        candidate = replace(recipe, layers=layers, copies=1)
        clips = clips_of(source, candidate)
        return sum(scores(cross_validated(clips, candidate, 0, []), clips)) / 3

    return max(LAYER_CHOICES, key=score)


def scores(prediction: Prediction, clips: Clips) -> tuple[float, ...]:
    """Return CCC of arousal, dominance and valence, one over all clips."""
    return tuple(adv_ccc(prediction.adv, clips.adv).values())


def unweighted_recall(found: Words, truth: Words) -> float:
    """Return the mean over categories of the share of clips that were recognised.

    Example:
        >>> unweighted_recall(np.array(["a", "a", "a"]), np.array(["a", "a", "b"]))
        0.5
    """
    return float(np.mean([np.mean(found[truth == name] == name) for name in np.unique(truth)]))
