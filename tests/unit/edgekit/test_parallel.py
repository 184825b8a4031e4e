"""Which part of a batch each process computes."""

import math

import pytest

from edgekit.parallel import Team


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 8, 10, 64])
def test_the_parts_are_the_batch(size, count):
    parts = [Team(rank, size).part(count, 4) for rank in range(size)]
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert max(part.stop - part.start for part in parts) <= 4 * math.ceil(math.ceil(count / 4) / size)
