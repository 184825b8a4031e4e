"""The agent's library, compiled once, and devices that are freed."""

from collections.abc import Iterator
from typing import Any

import pytest
from unit.codegen.agent.device import Device, build_library
from unit.codegen.agent.images import Image

OLD = Image(version=(1, 0, 0, 0), counter=4).build()


@pytest.fixture(scope="session")
def agent_library(tmp_path_factory):
    return build_library(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def make_device(agent_library) -> Iterator[Any]:
    made = []

    def make(**arguments: Any) -> Device:
        made.append(Device(agent_library, **{"image": OLD, **arguments}))
        return made[-1]

    yield make
    for device in made:
        assert device.violations == 0
        assert device.fitting_is_untouched()
        device.close()


@pytest.fixture
def device(make_device):
    return make_device()
