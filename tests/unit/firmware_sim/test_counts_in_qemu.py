"""The whole firmware of a Wav2Small on a Cortex-M33: unicorn's counts against QEMU's own."""

import numpy as np
import pytest
from support import needs_qemu, noise, small_graph

from benchmarks.simulator.counts import BOARD_FUNCTIONS, Boards, Counted, both_boards, differences
from edgekit.errors import SimulationError
from firmware_sim import qemu

pytestmark = needs_qemu

BLOCK = 64
BLOCKS = (10, 20, 30)


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Boards:
    folder = tmp_path_factory.mktemp("wav2small")
    return both_boards(small_graph(folder, bands=26, channels=13, depth=(3, 4), int4=True), folder)


@pytest.fixture(scope="module")
def both(boards: Boards) -> list[tuple[Counted, Counted]]:
    """(in unicorn, in QEMU) for three lengths of audio."""
    lengths = [noise(1.0)[: BLOCK * blocks] for blocks in BLOCKS]
    return [(boards.in_unicorn(pcm), boards.in_qemu(pcm)) for pcm in lengths]


def test_every_function_of_the_engine_executes_the_same_instructions(both) -> None:
    for here, there in both:
        assert here.result.results == there.result.results
        engine = here.functions.keys() - set(BOARD_FUNCTIONS)
        assert len(engine) > 20
        assert all(here.functions[name] == there.functions[name] for name in engine)
        for region in here.result.regions.keys() - {"board"}:
            assert here.result.regions[region].instructions == there.result.regions[region].instructions


def test_the_difference_is_the_fixed_cost_of_the_boards(both) -> None:
    """`run_in_qemu` has required already that QEMU's own count is the sum of these."""
    for here, there in both:
        more = differences(here, there)
        assert sum(more.values()) == there.result.instructions - here.result.instructions
        assert more.keys() <= set(BOARD_FUNCTIONS)


@pytest.mark.parametrize("place", [0, 1], ids=["unicorn", "qemu"])
def test_the_boards_cost_the_same_for_every_block_and_every_result(place: int, both) -> None:
    runs = [pair[place] for pair in both]
    reading = [run.functions["board_read_audio"] + run.functions.get("board_begin_block", 0) for run in runs]
    assert reading[2] - reading[1] == reading[1] - reading[0]
    per_block = (reading[1] - reading[0]) // (BLOCKS[1] - BLOCKS[0])
    if place == 0:
        # By hand: eleven instructions for four samples, and 21 for the block.
        assert per_block == 11 * BLOCK // 4 + 21
    results = np.diff([len(run.result.results) for run in runs])
    writing = np.diff([run.functions["board_write_adv"] for run in runs])
    per_result = {0: 11, 1: 25}[place]
    assert writing.tolist() == (per_result * results).tolist()
    for name in ("start", "board_exit"):
        assert len({run.functions[name] for run in runs}) == 1


def test_a_count_that_is_not_qemus_own_is_an_error(boards: Boards, monkeypatch) -> None:
    original = qemu.cost_table

    def one_too_many(*arguments):
        table = original(*arguments)
        table.instructions_before[len(table.instructions_before) // 2 :] += 1
        return table

    monkeypatch.setattr(qemu, "cost_table", one_too_many)
    with pytest.raises(SimulationError, match="were counted, and QEMU executed"):
        boards.in_qemu(noise(1.0)[:640])
