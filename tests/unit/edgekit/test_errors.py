import pickle

import pytest

from edgekit import errors

CODES = {
    errors.EdgekitError: 2,
    errors.ConfigError: 2,
    errors.TargetError: 3,
    errors.BudgetError: 4,
    errors.ArtifactError: 5,
    errors.UnsupportedError: 6,
    errors.AudioError: 7,
    errors.ParityError: 8,
    errors.SimulationError: 8,
    errors.PortError: 10,
    errors.PortPermissionError: 11,
    errors.PortBusyError: 12,
    errors.NoAnswerError: 13,
    errors.LinkLostError: 14,
    errors.ImageError: 20,
    errors.WrongKeyError: 21,
    errors.WrongTargetError: 22,
    errors.WrongGraphError: 23,
    errors.TooBigError: 24,
    errors.DowngradeError: 25,
    errors.VerifyError: 30,
    errors.DeviceError: 31,
    errors.RevertedError: 32,
}


def test_every_error_is_listed_with_its_exit_code():
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    assert classes == set(CODES)
    assert {c: c.exit_code for c in classes} == CODES


@pytest.mark.parametrize("kind", CODES)
def test_survives_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("clip.wav: no samples", "leave it out")))
    assert type(error) is kind
    assert (str(error), error.what, error.hint) == (
        "clip.wav: no samples",
        "clip.wav: no samples",
        "leave it out",
    )
    assert error.exit_code == CODES[kind]


def test_hint_is_optional():
    assert errors.ConfigError("no").hint == ""
