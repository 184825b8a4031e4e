"""One tiny model for the tests that do not change it: building it takes seconds."""

import pytest
from unit.wavllm_teacher.speech_llm.llm_tiny import tiny

from wavllm_teacher.speech_llm.model import SpeechLlm


@pytest.fixture(scope="session")
def model() -> SpeechLlm:
    return tiny()
