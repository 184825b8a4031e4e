import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgekit.audio import (
    DEFAULT_AUDIO,
    SAMPLE_RATE_HZ,
    FrontEnd,
    OpenAudio,
    find_audio,
    log_mel,
    mel_filters,
    read_audio,
    read_piece,
    running_average,
    to_pcm16,
)
from edgekit.audio.logmel import normalized_frames
from edgekit.errors import AudioError, ConfigError


def tone(rate_hz: int, duration_s: float = 0.25, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * duration_s)) / rate_hz)


def write(path: Path, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


class TestReading:
    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE"])
    def test_every_sample_format(self, tmp_path, subtype):
        samples = read_audio(write(tmp_path / "a.wav", tone(SAMPLE_RATE_HZ), subtype=subtype))
        assert samples.dtype == np.float32
        tolerance = 0.01 if subtype == "PCM_U8" else 1e-4
        np.testing.assert_allclose(samples, tone(SAMPLE_RATE_HZ), atol=tolerance)

    @pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000])
    def test_other_rates_are_resampled(self, tmp_path, rate_hz):
        samples = read_audio(write(tmp_path / "a.wav", tone(rate_hz), rate_hz))
        assert abs(samples.size - 4000) <= 1
        middle = slice(500, 3500)
        np.testing.assert_allclose(samples[middle], tone(SAMPLE_RATE_HZ)[middle], atol=2e-3)

    def test_stereo_is_averaged(self, tmp_path):
        left, right = tone(48_000), -0.5 * tone(48_000)
        samples = read_audio(write(tmp_path / "a.wav", np.stack([left, right], 1), 48_000))
        middle = slice(500, 3500)
        np.testing.assert_allclose(samples[middle], 0.25 * tone(SAMPLE_RATE_HZ)[middle], atol=2e-3)

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (np.zeros(0), "holds no samples"),
            (np.array([0.0, np.nan, 0.1]), "holds NaN or infinite samples"),
            (np.array([0.0, np.inf, 0.1]), "holds NaN or infinite samples"),
        ],
    )
    def test_unusable_samples(self, tmp_path, samples, message):
        path = write(tmp_path / "bad.wav", samples, subtype="FLOAT")
        with pytest.raises(AudioError, match=rf"bad\.wav: {message}"):
            read_audio(path)

    @pytest.mark.parametrize("content", [b"", b"not audio at all", b"RIFF\x10\x00\x00\x00WAVEfmt "])
    def test_not_audio(self, tmp_path, content):
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(AudioError, match=r"a\.wav: not readable as audio") as caught:
            read_audio(tmp_path / "a.wav")
        assert caught.value.hint == "convert it to WAV or FLAC, or leave it out"

    def test_no_file(self, tmp_path):
        with pytest.raises(AudioError, match="no such file"):
            read_audio(tmp_path / "a.wav")

    def test_the_clips_that_ship(self):
        clips = find_audio([DEFAULT_AUDIO])
        assert len(clips) == 237
        assert 0.5 < read_audio(clips[0]).size / SAMPLE_RATE_HZ < 12


class TestPieces:
    @pytest.mark.parametrize("suffix", ["wav", "flac"])
    def test_at_16_khz_are_slices_of_the_file(self, tmp_path, suffix):
        path = write(tmp_path / f"a.{suffix}", tone(SAMPLE_RATE_HZ, 5.0))
        whole = read_audio(path)
        for start_s, end_s in ((0.0, 5.0), (1.23456, 3.0), (4.99, 9.0)):
            expected = whole[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)]
            np.testing.assert_array_equal(read_piece(path, start_s, end_s), expected)

    @pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
    def test_at_other_rates_meet_and_are_the_audio_of_the_whole(self, tmp_path, rate_hz):
        noise = 0.1 * np.random.default_rng(0).normal(size=(rate_hz * 7 + 31, 2))
        path = write(tmp_path / "a.wav", noise, rate_hz)
        whole = read_audio(path)
        edges_s = [0.0, 1.01, 2.95, 3.0, 5.123, 8.0]
        pieces = [read_piece(path, *span) for span in itertools.pairwise(edges_s)]
        # 16-bit steps are 3e-5: what the cut changes is less than that.
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)

    @pytest.mark.parametrize("rate_hz", [11_025, 48_000])
    def test_that_is_a_whole_file_equals_it(self, tmp_path, rate_hz):
        path = write(tmp_path / "a.wav", tone(rate_hz, 2.3), rate_hz)
        np.testing.assert_array_equal(read_piece(path, 0.0, 2.3), read_audio(path))

    def test_do_not_read_the_rest(self, tmp_path, monkeypatch):
        path = write(tmp_path / "a.wav", tone(48_000, 60.0), 48_000)
        sizes = []
        read = OpenAudio.read
        monkeypatch.setattr(OpenAudio, "read", lambda *words: sizes.append(words[-1]) or read(*words))
        assert read_piece(path, 30.0, 32.0).size == 2 * SAMPLE_RATE_HZ
        assert sizes == [4 * 48_000]

    def test_that_hold_no_numbers(self, tmp_path):
        samples = np.zeros(SAMPLE_RATE_HZ)
        samples[-1] = np.nan
        path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
        assert read_piece(path, 0.0, 0.5).size == 8000
        with pytest.raises(AudioError, match="holds NaN"):
            read_piece(path, 0.5, 1.0)


class TestFinding:
    def test_folders_recursively_in_order_without_repeats(self, tmp_path):
        for name in ("b/2.WAV", "a.flac", "b/c/1.opus", "b/notes.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        found = find_audio([tmp_path, tmp_path / "b"])
        assert [p.relative_to(tmp_path).as_posix() for p in found] == ["a.flac", "b/2.WAV", "b/c/1.opus"]

    def test_a_named_file_whatever_its_suffix(self, tmp_path):
        (tmp_path / "speech.raw").touch()
        assert find_audio([tmp_path / "speech.raw"]) == [tmp_path / "speech.raw"]

    def test_nothing_found(self, tmp_path):
        with pytest.raises(AudioError, match="no audio found in") as caught:
            find_audio([tmp_path])
        assert ".flac" in caught.value.hint

    def test_no_such_path(self, tmp_path):
        with pytest.raises(AudioError, match="missing: no such file or folder"):
            find_audio([tmp_path / "missing"])


class TestPcm:
    def test_rounds_to_nearest_and_saturates(self):
        given = np.array([0.49, 0.51, -0.51, 32767.4, 40000, -40000]) / 32768
        assert to_pcm16(given).tolist() == [0, 1, -1, 32767, 32767, -32768]

    def test_keeps_16_bit_audio_exactly(self, tmp_path):
        pcm = np.arange(-32768, 32768, 37, dtype=np.int16)
        assert to_pcm16(read_audio(write(tmp_path / "a.wav", pcm))).tolist() == pcm.tolist()


class TestMel:
    def test_filters_of_the_default_front_end(self):
        filters = mel_filters(FrontEnd())
        assert filters.shape == (33, 26)
        assert np.count_nonzero(filters) == 59
        assert not filters[:, 0].any()
        assert (np.delete(filters, 0, axis=1).sum(axis=0) > 0).all()

    def test_power_lands_in_the_band_of_its_frequency(self):
        front_end = FrontEnd(level="utterance")
        for frequency_hz in (500, 2000, 6000):
            bands = log_mel(tone(SAMPLE_RATE_HZ, frequency_hz=frequency_hz), front_end).mean(axis=0)
            bins = mel_filters(front_end)[:, bands.argmax()].nonzero()[0] * 250
            assert bins.min() - 250 <= frequency_hz <= bins.max() + 250


class TestLogMel:
    def test_shape_type_and_floor(self):
        frames = log_mel(tone(SAMPLE_RATE_HZ), FrontEnd())
        assert frames.shape == (FrontEnd().frame_count(4000), 26)
        assert frames.dtype == np.float32
        # Band 0 holds no bin: it is always the floor of 1e-10.
        assert (frames[:, 0] == -100).all()

    def test_equals_the_formula_written_out(self):
        front_end = FrontEnd(level="utterance")
        samples = np.random.default_rng(3).normal(size=200) * 0.1 + 0.05
        clip = samples - samples.mean()
        clip = clip / np.sqrt(np.mean(clip**2) + 1e-7)
        window = [0.5 - 0.5 * np.cos(2 * np.pi * n / 64) for n in range(64)]
        frame = [clip[32 + n] * window[n] for n in range(64)]
        spectrum = [
            abs(sum(frame[n] * np.exp(-2j * np.pi * k * n / 64) for n in range(64))) ** 2 for k in range(33)
        ]
        mel = np.array(spectrum) @ mel_filters(front_end)
        expected = 10 * np.log10(np.maximum(mel, 1e-10))
        np.testing.assert_allclose(log_mel(samples, front_end)[1], expected, rtol=1e-4)

    @pytest.mark.parametrize(("level", "most_db"), [("causal", 0.1), ("utterance", 1e-3)])
    def test_ignores_level_and_offset(self, level, most_db):
        front_end = FrontEnd(level=level)
        samples = np.random.default_rng(0).normal(size=3000) * 0.1
        louder = log_mel(3 * samples + 0.2, front_end)
        # The causal mean moves in steps of 16-bit PCM, so that a louder clip is centred a little better.
        assert np.abs(louder - log_mel(samples, front_end)).max() < most_db

    def test_causal_frames_do_not_see_the_future(self):
        samples = np.random.default_rng(0).normal(size=3000)
        changed = samples.copy()
        changed[1600:] *= 100
        frames = (1600 - 64) // 32 + 1
        before, after = (log_mel(x, FrontEnd()) for x in (samples, changed))
        np.testing.assert_array_equal(before[:frames], after[:frames])
        assert not np.allclose(before[frames:], after[frames:])

    @pytest.mark.parametrize("level", ["causal", "utterance"])
    def test_silence_is_finite(self, level):
        assert np.isfinite(log_mel(np.zeros(1000), FrontEnd(level=level))).all()

    @pytest.mark.parametrize("count", [0, 1, 63])
    def test_shorter_than_a_frame(self, count):
        with pytest.raises(AudioError, match=f"clip of {count} samples is shorter than one frame of 64"):
            log_mel(np.zeros(count), FrontEnd())


class TestCausalLevel:
    @pytest.mark.parametrize("memory_frames", [1, 4, 100])
    def test_running_average_equals_its_recurrence(self, memory_frames):
        values = np.random.default_rng(1).normal(size=60)
        expected, average = [], 0.0
        for t, value in enumerate(values):
            average += (value - average) / min(t + 1, memory_frames)
            expected.append(average)
        np.testing.assert_allclose(running_average(values, memory_frames), expected, rtol=1e-12)

    def test_frames_equal_the_recurrence_sample_by_sample(self):
        """Mean and level as a device updates them: from the samples that are new with each frame."""
        front_end = FrontEnd(memory_frames=5)
        samples = np.random.default_rng(2).normal(size=64 + 32 * 11) * 0.2 + 0.1
        mean = power = 0.0
        expected = []
        for t in range(12):
            frame = samples[32 * t : 32 * t + 64]
            fresh = slice(0, 64) if t == 0 else slice(32, 64)
            weight = 1 / min(t + 1, 5)
            mean += weight * (sum(frame[fresh]) / len(frame[fresh]) - mean)
            steps = round(mean * 32768) / 32768
            centred = [x - steps for x in frame]
            squares = [x * x for x in centred[fresh]]
            power += weight * (sum(squares) / len(squares) - power)
            expected.append([x / np.sqrt(power + 1e-7) for x in centred])
        np.testing.assert_allclose(normalized_frames(samples, front_end), expected, rtol=1e-9)


class TestFrontEndSettings:
    def test_survive_json(self):
        front_end = FrontEnd(level="utterance", memory_frames=99)
        assert FrontEnd.from_dict(front_end.to_dict()) == front_end

    @pytest.mark.parametrize(
        ("values", "message"),
        [({"hopp": 3}, "unknown setting 'hopp'"), ({"level": "loud"}, "unknown level 'loud'")],
    )
    def test_unknown_ones_are_refused(self, values, message):
        with pytest.raises(ConfigError, match=message):
            FrontEnd.from_dict(values)
