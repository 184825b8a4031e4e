import pytest
from support import small_graph


@pytest.fixture(scope="session")
def graph(tmp_path_factory):
    """A causal student graph with 8 bands and 4 channels."""
    return small_graph(tmp_path_factory.mktemp("student"))
