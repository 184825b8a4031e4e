"""The settings of a training: what they may be, and how they are written."""

import math
import re

import pytest

from distill.config import DistillConfig, recommended_config, with_settings
from edgekit.errors import ConfigError


def test_unknown_student_names_the_closest():
    with pytest.raises(ConfigError, match="unknown student 'wav2smal'; did you mean 'wav2small'"):
        recommended_config("wav2smal")


@pytest.mark.parametrize(
    "setting",
    [
        {"level": "loud"},
        {"batch": 1},
        {"crop_s": 0.01},
        {"threads": 0},
        {"steps": -1},
        {"hop": 48},
        {"mixup": 1.5},
        {"optimizer": "sgd"},
        {"crop_s": math.nan},
        {"crop_s": math.inf},
        {"seed": -1},
        {"seed": 2**64},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"weight_decay": -1.0},
        {"weight_decay": math.nan},
    ],
    ids=str,
)
def test_impossible_settings(setting):
    with pytest.raises(ConfigError, match=re.escape(str(*setting.values()))):
        DistillConfig(**setting)


def test_recommended_settings():
    assert recommended_config().warm_start
    scratch = recommended_config(seed=3, from_scratch=True)
    assert (scratch.warm_start, scratch.seed) == (False, 3)
    assert scratch.steps > 10 * recommended_config().steps


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("speed=2", "no setting 'speed=2'"),
        ("steps", "no setting 'steps'"),
        ("steps=many", "steps = 'many'"),
        ("steps=1.5", "steps = '1.5'"),
        ("augment=2", "augment = '2'"),
        ("steps=-1", "steps = -1 is out of range"),
        ("loss=hinge", "loss = 'hinge'"),
        ("labels=wet", "labels = 'wet'"),
        ("precision=float8", "precision = 'float8'"),
        ("student=wav3small", "wav3small"),
        ("seed=-1", "seed = -1 is out of range"),
        ("crop_s=nan", "crop_s = nan is out of range"),
        ("learning_rate=nan", "learning_rate = nan is out of range"),
    ],
)
def test_settings_that_do_not_exist(setting, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        with_settings(DistillConfig(), [setting])


def test_the_last_of_two_equal_settings_counts():
    assert with_settings(DistillConfig(), ["steps=3", "steps=4", "loss=mse"]).steps == 4
