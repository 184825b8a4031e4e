import pytest
from support import small_graph

from codegen.emit import emit_sources
from codegen.host import HostModel, build_library

SHAPE = {"bands": 26, "channels": 5, "depth": (3, 2), "int4": True}


@pytest.fixture(scope="session", params=["causal", "utterance"])
def level(request):
    return request.param


@pytest.fixture(scope="session")
def graph(tmp_path_factory, level):
    """A student graph with int4 linears: l1 is direct, l2 and l3 in pairs of rows, l4 and l5 in turns."""
    return small_graph(tmp_path_factory.mktemp("student"), level=level, **SHAPE)


@pytest.fixture(scope="session", params=["portable", "mve"])
def instructions(request):
    return request.param


@pytest.fixture(scope="session")
def c_folder(graph, instructions, tmp_path_factory):
    """The generated C."""
    folder = tmp_path_factory.mktemp("c")
    for name, text in emit_sources(graph, 16_000, instructions).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="session")
def library(c_folder):
    return build_library(c_folder, c_folder)


@pytest.fixture
def model(library):
    return HostModel(library)
