"""Places in an arena: nothing that is alive together overlaps, whatever the lives."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from codegen.memory import Buffer, aligned, plan_memory

LIVES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 6), st.integers(1, 400)), min_size=1, max_size=12
)


def buffer(number, first, length, size_bytes):
    # Sizes may differ from step to step where tensors share a buffer.
    sizes = {first + i: aligned(size_bytes // (i + 1)) for i in range(length + 1)}
    return Buffer(f"b{number}", {step: size for step, size in sizes.items() if size})


@given(LIVES)
def test_what_lives_together_never_overlaps(lives):
    buffers = [buffer(number, *life) for number, life in enumerate(lives)]
    layout = plan_memory(buffers)
    assert layout.size_bytes >= layout.bound_bytes
    for step in range(20):
        living = [b for b in buffers if step in b.sizes]
        places = [(layout.offsets[b.name], b.sizes[step]) for b in living]
        alive = sorted((start, start + size) for start, size in places)
        assert all(end <= start for (_, end), (start, _) in pairwise(alive))
        assert all(start % 8 == 0 and end <= layout.size_bytes for start, end in alive)
        assert sum(end - start for start, end in alive) == layout.live_bytes.get(step, 0)


def test_one_buffer_after_another_needs_the_largest_pair():
    chain = [Buffer(f"t{i}", {i: size, i + 1: size}) for i, size in enumerate((64, 512, 8, 256))]
    layout = plan_memory(chain)
    assert layout.size_bytes == layout.bound_bytes == 64 + 512


def test_a_shrinking_buffer_frees_its_end():
    layout = plan_memory([Buffer("map", {0: 800, 1: 80}), Buffer("late", {1: 720})])
    assert layout.size_bytes == 800


def test_nothing_needs_nothing():
    assert plan_memory([]).size_bytes == 0
