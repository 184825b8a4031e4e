"""Memory does not grow with the length of a recording: measured, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pyarrow import parquet

GROWTH_BYTES = 64 * 2**20
"""Allowed for half an hour or three: allocators and Parquet buffers, far below the audio itself."""
CHILD = """
import sys
from pathlib import Path
from wavllm_teacher.labelling import LabelConfig, label
label(LabelConfig((Path(sys.argv[1]),)), Path(sys.argv[2]))
# Not ru_maxrss: a process inherits that of the one that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
"""


def write_recording(path: Path, minutes: int, rate_hz: int, channels: int) -> Path:
    """Write talk of 3 to 9 s with pauses of half a second, a minute at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate_hz, channels, "PCM_16") as file:
        for _ in range(minutes):
            loud = np.ones(60 * rate_hz, np.float32)
            for start_s in np.cumsum(rng.uniform(3, 9, 20)):
                loud[round(start_s * rate_hz) : round((start_s + 0.5) * rate_hz)] = 1e-3
            noise = rng.standard_normal((loud.size, channels), np.float32)
            file.write(0.1 * noise * loud[:, None])
    return path


def peak_bytes(recording: Path, out: Path) -> int:
    words = [sys.executable, "-c", CHILD, str(recording), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout)


def check(folder: Path, minutes: int, rate_hz: int, channels: int) -> None:
    short = write_recording(folder / "short.wav", 2, rate_hz, channels)
    long = write_recording(folder / "long.wav", minutes, rate_hz, channels)
    usual = peak_bytes(short, folder / "short")
    grown = peak_bytes(long, folder / "long") - usual
    audio_bytes = 4 * 16_000 * 60 * minutes
    print(f"{minutes} min: {grown / 2**20:.1f} MiB above {usual / 2**20:.0f} MiB")  # noqa: T201
    assert audio_bytes > GROWTH_BYTES, "the recording is too short to show anything"
    assert grown < GROWTH_BYTES
    rows = parquet.read_table(folder / "long/labels.parquet")
    lengths = rows["end_s"].to_numpy() - rows["start_s"].to_numpy()
    assert 2 <= lengths.min() <= lengths.max() <= 12 + 1e-9
    assert lengths.sum() == pytest.approx(60 * minutes, rel=0.1)


def test_twenty_minutes_of_stereo_at_another_rate(tmp_path):
    check(tmp_path, 20, 22_050, 2)


@pytest.mark.slow
def test_three_hours(tmp_path):
    check(tmp_path, 180, 16_000, 1)


@pytest.mark.slow
def test_three_hours_of_stereo_at_another_rate(tmp_path):
    check(tmp_path, 180, 44_100, 2)
