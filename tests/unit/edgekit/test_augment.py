import numpy as np
import pytest

from edgekit.audio import augment as a

RATE = 16000


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def level_db(samples) -> float:
    return 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))


def pitch_hz(samples) -> float:
    return np.argmax(np.abs(np.fft.rfft(samples))) * RATE / samples.size


CHANGES = {
    "gain": lambda x, rng: a.gain_db(x, rng),
    "noise": lambda x, rng: a.coloured_noise(x, rng, 10.0),
    "babble": lambda x, rng: a.babble(x, rng, 10.0, [tone(100, 0.2), tone(300, 3)]),
    "room": lambda x, rng: a.room(x, rng, 0.4),
    "band": lambda x, rng: a.band_limit(x, rng),
    "shift": lambda x, rng: a.time_shift(x, rng),
    "speed": lambda x, rng: a.speed(x, rng),
    "all": lambda x, rng: a.augment(x, rng, [tone(100, 0.2)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_same_generator_state_gives_the_same_samples(name):
    x = tone(440)
    kept = x.copy()
    first, second = (CHANGES[name](x, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(x, kept)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    "x", [np.zeros(500, np.float32), np.ones(1, np.float32)], ids=["silence", "one sample"]
)
def test_silence_and_a_single_sample_pass(name, x):
    for seed in range(5):
        assert np.isfinite(CHANGES[name](x, np.random.default_rng(seed))).all()


def test_gain_changes_the_level_by_the_decibels_drawn(rng):
    assert level_db(a.gain_db(tone(440), rng, (-6.0, -6.0))) == pytest.approx(
        level_db(tone(440)) - 6, abs=0.01
    )


def test_gain_clips_as_a_converter_does(rng):
    assert np.abs(a.gain_db(tone(440), rng, (40.0, 40.0))).max() == 1.0


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_the_given_ratio_and_slope(rng, slope):
    x = tone(440, 4)
    noise = a.coloured_noise(x, rng, 12.0, slope) - x
    assert level_db(x) - level_db(noise) == pytest.approx(12, abs=0.1)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    low, high = spectrum[400:800].mean(), spectrum[12800:25600].mean()
    assert 10 * np.log10(low / high) == pytest.approx(slope * 10 * np.log10(32), abs=1.5)


def test_babble_has_the_given_ratio(rng):
    x = tone(440, 2)
    crowd = a.babble(x, rng, 6.0, [tone(100, 0.3), tone(250, 5)]) - x
    assert level_db(x) - level_db(crowd) == pytest.approx(6, abs=0.1)


def test_every_voice_of_a_babble_is_as_loud(rng):
    """A voice a hundred times quieter than the other: where both are drawn, both are heard alike."""
    x, voices = tone(440), [tone(100), tone(250) / 100]
    heard = [np.abs(np.fft.rfft(a.babble(x, rng, 6.0, voices, talkers=2) - x))[[100, 250]] for _ in range(20)]
    both = [low / high for low, high in heard if min(low, high) > 1e-3 * max(low, high)]
    assert 3 < len(both) < 20
    assert both == pytest.approx(np.ones(len(both)), rel=1e-2)


def test_room_rings_on_for_its_reverberation_time(rng):
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    wet = a.room(click, rng, 0.5)
    early, late = level_db(wet[800:1600]), level_db(wet[4800:5600])
    assert early - late == pytest.approx(60 * 0.25 / 0.5, abs=3)
    assert np.all(wet[8000:] == 0) or np.abs(wet[8000:]).max() < 1e-6


def test_band_limit_removes_what_lies_outside(rng):
    x = tone(60, 1) + tone(1000, 1) + tone(7000, 1)
    spectrum = np.abs(np.fft.rfft(a.band_limit(x, rng, 300, 3400)))
    assert spectrum[1000] > 10 * spectrum[60]
    assert spectrum[1000] > 5 * spectrum[7000]


def test_shift_keeps_the_length_and_moves_the_sound(rng):
    click = np.zeros(RATE, np.float32)
    click[8000] = 1
    places = {int(np.argmax(a.time_shift(click, np.random.default_rng(seed)))) for seed in range(20)}
    assert len(places) > 10
    assert max(abs(place - 8000) for place in places) <= 1600


def test_speed_changes_pitch_and_length_together(rng):
    fast = a.speed(tone(400), rng, (1.25, 1.25))
    assert fast.size == pytest.approx(RATE / 1.25, abs=2)
    assert pitch_hz(fast) == pytest.approx(500, abs=3)


def test_augment_without_voices_uses_noise():
    outputs = [a.augment(tone(440), np.random.default_rng(seed)) for seed in range(20)]
    assert len({out.tobytes() for out in outputs}) == 20
