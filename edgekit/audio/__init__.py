"""Audio in: reading and resampling, the float log-mel definition, generated noise and rooms."""

from edgekit.audio.logmel import FrontEnd, log_mel, mel_filters, running_average
from edgekit.audio.reading import (
    DEFAULT_AUDIO,
    SAMPLE_RATE_HZ,
    OpenAudio,
    find_audio,
    open_audio,
    read_audio,
    read_piece,
    to_pcm16,
)

__all__ = [
    "DEFAULT_AUDIO",
    "SAMPLE_RATE_HZ",
    "FrontEnd",
    "OpenAudio",
    "find_audio",
    "log_mel",
    "mel_filters",
    "open_audio",
    "read_audio",
    "read_piece",
    "running_average",
    "to_pcm16",
]
