"""How many threads torch computes with."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run a block with this many threads inside torch's operators.

    Their number changes how sums are split, and with it the last bits of results.
    """
    # Imported late: the core does not need torch.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
