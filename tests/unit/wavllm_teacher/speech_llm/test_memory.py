"""The memory plan: against the tensors of real models, and against what a backward pass really keeps."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, WHISPER_ALONE, tiny

from edgekit.errors import ConfigError
from wavllm_teacher.speech_llm import memory
from wavllm_teacher.speech_llm.memory import FIRST, FORMATS, LAST, Share, Use, meta_model, plan
from wavllm_teacher.speech_llm.quantized import quantize
from wavllm_teacher.speech_llm.sizes import SIZES

PAPER = SIZES["wavllm-7b"]
SHAPE = replace(TINY, decoder=replace(TINY.decoder, feed_forward=192))
GB = 1e9


def held(model) -> tuple[int, int]:
    """Bytes of a model's frozen and trained tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    sizes = [sum(t.nbytes for t in tensors if t.requires_grad is trained) for trained in (False, True)]
    return sizes[0], sizes[1]


@pytest.mark.parametrize("kept", FORMATS)
@pytest.mark.parametrize("stage", [1, 2])
def test_weights_are_those_of_a_real_model(kept, stage):
    use = Use(kept)
    model = tiny(stage, SHAPE)
    for value in model.decoder.parameters():
        if not value.requires_grad:
            value.data = value.data.to(use.type)
    if FORMATS[kept]:
        quantize(model.decoder, FORMATS[kept])
    (share,) = plan(SHAPE, stage, use)
    assert (share.frozen, share.trained) == held(model)
    assert {t.dtype for t in meta_model(SHAPE, stage, use).parameters()} == {
        t.dtype for t in model.parameters()
    }


def test_without_wavlm():
    model = tiny(2, WHISPER_ALONE)
    (share,) = plan(WHISPER_ALONE, 2, Use("float32"))
    assert (share.frozen, share.trained) == held(model)


def test_the_cache_is_that_of_a_real_model():
    model, use = tiny(1, SHAPE), Use("float32", sequences=3, positions=11)
    cache = DynamicCache(config=model.decoder.llama.config)
    with torch.no_grad():
        embedded = model.decoder.embed(torch.zeros(3, 11, dtype=torch.long))
        model.decoder(embedded, torch.ones(3, 11, dtype=torch.bool), None, cache)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert plan(SHAPE, 1, use)[0].cache == held


def test_training_keeps_what_the_plan_says():
    """One block as it runs on this processor, its saved tensors counted by their storage."""
    shape = replace(SHAPE, decoder=replace(SHAPE.decoder, layers=1))
    model = tiny(1, shape).train()
    embedded = torch.randn(2, 13, 64, requires_grad=True)
    valid = torch.ones(2, 13, dtype=torch.bool)
    weights = {p.untyped_storage().data_ptr() for p in model.decoder.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
        model.decoder.gate.scaled(torch.ones(2, 64)),
    ):
        model.decoder.states(embedded, valid)
    real = sum(t.untyped_storage().nbytes() for t in kept.values())
    planned = memory.block_working_bytes(SHAPE, Use("float32", training=True, sequences=2, positions=13))
    assert real * 0.9 <= planned <= real * 1.5


@pytest.mark.parametrize("gpus", [1, 2, 3, 8])
def test_every_part_of_7b_is_on_one_gpu(gpus):
    shares = plan(PAPER, 2, Use("bf16"), gpus)
    parts = [part for share in shares for part in share.parts]
    assert parts == [FIRST, *(f"block {i}" for i in range(32)), LAST]
    assert len(shares) == gpus
    frozen, trained = held(meta_model(PAPER, 2, Use("bf16")))
    assert sum(share.frozen for share in shares) == frozen
    assert sum(share.trained for share in shares) == trained == 76_642_062 * 4
    # No GPU is fuller than it has to be: by no more than one part.
    most = max(share.total for share in shares)
    assert most <= sum(share.total for share in shares) / gpus + max(u.total for u in units("bf16"))


def units(kept: str) -> list[Share]:
    return memory.units_of(PAPER, 2, Use(kept))


GUIDE = (Path(__file__).parents[4] / "docs" / "wavllm.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (answering|training) \| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", GUIDE, re.M)


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_table_in_the_guide(row):
    name, kept, *figures = row
    use = Use(kept, training=name == "training", sequences=4 if name == "training" else 1)
    # One row of each use in full, of the others the first column: plans of 7 billion take a second.
    for gpus, figure in list(zip((1, 2, 4), figures, strict=True))[: 3 if kept == "bf16" else 1]:
        assert f"{max(share.total for share in plan(PAPER, 2, use, gpus)) / GB:.1f}" == figure


def test_the_table_is_whole():
    assert len(ROWS) == 6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.data())
def test_no_dealing_is_better(totals, data):
    gpus = data.draw(st.integers(1, len(totals)))
    groups = memory._dealt([Share((str(i),), total) for i, total in enumerate(totals)], gpus)
    assert [share.frozen for group in groups for share in group] == totals
    assert len(groups) == gpus
    assert all(groups)

    def best(rest: tuple[int, ...], count: int) -> int:
        if count == 1:
            return sum(rest)
        cuts = range(1, len(rest) - count + 2)
        return min(max(sum(rest[:cut]), best(rest[cut:], count - 1)) for cut in cuts)

    assert max(sum(share.frozen for share in group) for group in groups) == best(tuple(totals), gpus)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Use("fp4"), "'fp4'"),
        (lambda: Use(positions=0), "without positions"),
        (lambda: plan(SHAPE, 1, Use(), 0), "0 GPUs for 6 parts"),
        (lambda: plan(SHAPE, 1, Use(), 7), "7 GPUs for 6 parts"),
    ],
)
def test_impossible_plans(wrong, message):
    with pytest.raises(ConfigError, match=message):
        wrong()
