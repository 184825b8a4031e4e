"""The teachers that have a name: what each one is, under which licence, and how to get it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A teacher that has a name.

    Attributes:
        what: What it is.
        licence: Of its weights.
        origin: Where they come from.
        parameters: Numbers in its checkpoint; None where that depends on what it is made from.
        get: The commands that get it where it is not here; none if it comes with edgekit.
        repository: Its name on Hugging Face, if it is there.
        parts: The teachers that it is the mean of.
        missing: What `edgekit teachers` says while it is not here.
        terms: What to know about its licence.
    """

    what: str
    licence: str
    origin: str
    parameters: int | None
    get: tuple[str, ...] = ()
    repository: str = ""
    parts: tuple[str, ...] = ()
    missing: str = "not here"
    terms: str = ""

    @property
    def made(self) -> bool:
        """Whether users make it and then name its folder; the name alone loads nothing."""
        return bool(self.get) and not self.repository and not self.parts


FUSED = "msp-fused"
_DAWN = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
_MSP_WAVLM = "3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes"
_GET_DAWN, _GET_MSP_WAVLM = f"hf download {_DAWN}", f"hf download {_MSP_WAVLM}"
_NON_COMMERCIAL = "its labels, too, are for non-commercial use only"
_DAWN_PARAMETERS = 165_336_707
_MSP_WAVLM_PARAMETERS = 318_607_043

TEACHERS = {
    "compact": Entry(
        what="two slimmed Whisper blocks, distilled from whisper-base",
        licence="Apache-2.0 and MIT",
        origin="edgekit, from parts of openai/whisper-base",
        parameters=1_979_292,
    ),
    "whisper-base": Entry(
        what="Whisper-base encoder, statistics of three layers, emotion head",
        licence="Apache-2.0 and MIT",
        origin="the head comes with edgekit, the encoder is openai/whisper-base",
        parameters=20_618_268,
        get=("python -m wavllm_teacher.train assemble --encoder DIR --out DIR",),
        missing="head only",
    ),
    "dual-encoder": Entry(
        what="Whisper and WavLM encoders with adapters, as in WavLLM",
        licence="that of its parts",
        origin="edgekit teach makes it from encoders and labelled speech",
        parameters=None,
        get=("edgekit teach --help",),
    ),
    "wavllm": Entry(
        what="the speech language model of that name, asked for numbers from 1 to 7",
        licence="that of its parts",
        origin="arXiv 2404.00656; its weights can no longer be downloaded",
        parameters=7_546_223_486,
        get=("python -m wavllm_teacher.train wavllm --help",),
        terms="LLaMA 2, its decoder, has Meta's community licence",
    ),
    "dawn": Entry(
        what="wav2vec2-large-robust, 12 layers, mean over time, tuned on MSP-Podcast",
        licence="CC-BY-NC-SA-4.0",
        origin=_DAWN,
        parameters=_DAWN_PARAMETERS,
        get=(_GET_DAWN,),
        repository=_DAWN,
        terms=_NON_COMMERCIAL,
    ),
    "msp-wavlm": Entry(
        what="WavLM-large, attentive statistics pooling, tuned on MSP-Podcast",
        licence="MIT",
        origin=_MSP_WAVLM,
        parameters=_MSP_WAVLM_PARAMETERS,
        get=(_GET_MSP_WAVLM,),
        repository=_MSP_WAVLM,
    ),
    FUSED: Entry(
        what="the mean of dawn and msp-wavlm, as in the Wav2Small paper",
        licence="CC-BY-NC-SA-4.0",
        origin="dawn and msp-wavlm",
        parameters=_DAWN_PARAMETERS + _MSP_WAVLM_PARAMETERS,
        get=(_GET_DAWN, _GET_MSP_WAVLM),
        parts=("dawn", "msp-wavlm"),
        terms=_NON_COMMERCIAL,
    ),
}
