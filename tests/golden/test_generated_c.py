"""The generated C as text: a change of it is seen in review. Update with pytest --update-golden."""

from pathlib import Path

import pytest
from support import small_graph

from codegen.emit import emit_sources
from edgekit.graph import to_text

GOLDEN = Path(__file__).parent


OF_EACH_LEVEL = ("edgekit_engine.c", "edgekit_model.h", "graph.txt")
OF_SHAPES = ("edgekit_products.c", "edgekit_tiles.c")
"""The level changes nothing in them."""


@pytest.mark.parametrize(
    ("level", "name"),
    [
        *((level, name) for level in ("causal", "utterance") for name in OF_EACH_LEVEL),
        *(("causal", name) for name in OF_SHAPES),
    ],
)
def test_text_is_as_reviewed(tmp_path, request, level, name):
    # Shapes alone decide these files: no weight, scale or multiplier is in them.
    graph = small_graph(tmp_path, bands=12, channels=11, level=level, int4=True)
    text = to_text(graph) + "\n" if name == "graph.txt" else emit_sources(graph, 16_000)[name]
    if name == "graph.txt":
        text = "\n".join(line.split(" = ")[0] for line in text.splitlines()) + "\n"
    golden = GOLDEN / f"{level}_{name}"
    if request.config.getoption("--update-golden"):
        golden.write_text(text)
    assert text == golden.read_text()
