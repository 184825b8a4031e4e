"""Corrections and the prompt adapter against their formulas, written out in float64 with numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from torch import nn

from wavllm_teacher.speech_llm.decoder import PromptAdapter
from wavllm_teacher.speech_llm.lora import LoraGate, LoraLinear, rotary_order
from wavllm_teacher.speech_llm.sizes import PromptShape

sizes = st.tuples(
    st.integers(1, 3), st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9)
)


def numbers(seed: int, *shape: int, spread: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, shape)


def assign(parameter: torch.Tensor, value: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(value))


def scale_by_formula(states, w1, b1, w2, b2, wa, limit) -> np.ndarray:
    """For one sequence of (L, D) states: the formula of the paper, position by position."""
    rows = []
    for h in states:
        x = w1 @ h + b1
        gelu = 0.5 * x * (1 + erf(x / np.sqrt(2)))
        rows.append(w2 @ gelu + b2)
    scores = np.array([wa @ row for row in rows])
    attention = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    pooled = sum(a * row for a, row in zip(attention, rows, strict=True))
    return np.minimum(np.maximum(pooled, 0.0), limit)


@settings(max_examples=40)
@given(sizes, st.integers(0, 2**20), st.sampled_from([0.5, 3.0]))
def test_prompt_adapter(shape, seed, limit):
    batch, length, heads, half, bottleneck = shape
    width = 2 * heads * half
    adapter = PromptAdapter(width, PromptShape(bottleneck, limit), 1.0)
    w1, b1 = numbers(seed, bottleneck, width), numbers(seed + 1, bottleneck)
    w2, b2 = numbers(seed + 2, width, bottleneck), numbers(seed + 3, width)
    wa = numbers(seed + 4, width, spread=0.3)
    for parameter, value in zip(
        (*adapter.fc_1.parameters(), *adapter.fc_2.parameters(), adapter.weight_attention.weight),
        (w1, b1, w2, b2, wa[None]),
        strict=True,
    ):
        assign(parameter, value)
    states = numbers(seed + 5, batch, length, width)
    counts = np.random.default_rng(seed).integers(1, length + 1, batch)
    valid = torch.arange(length)[None] < torch.from_numpy(counts)[:, None]
    found = adapter.double()(torch.from_numpy(states), valid).detach().numpy()
    for row in range(batch):
        # What lies behind a prompt counts for nothing: the formula never sees it.
        wanted = scale_by_formula(states[row, : counts[row]], *map(rounded, (w1, b1, w2, b2, wa)), limit)
        np.testing.assert_allclose(found[row], wanted, atol=1e-6, rtol=0)
    assert found.min() >= 0
    assert found.max() <= limit


def rounded(value: np.ndarray) -> np.ndarray:
    """A weight as float32 keeps it."""
    return value.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("start", [0.5, 2.0])
def test_before_training_every_prompt_has_the_scale_of_stage_one(start):
    adapter = PromptAdapter(4, PromptShape(3, 3.0), start)
    found = adapter(torch.rand(5, 2, 4), torch.ones(5, 2, dtype=torch.bool))
    np.testing.assert_allclose(found.detach(), np.full((5, 4), start), atol=1e-6)


def test_the_limit_is_reached():
    adapter = PromptAdapter(4, PromptShape(3, 3.0), 1.0)
    assign(adapter.fc_2.bias, np.array([-1.0, 0.5, 2.9, 7.0]))
    nn.init.zeros_(adapter.fc_2.weight)
    found = adapter(torch.zeros(1, 2, 4), torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_allclose(found[0].detach(), [0.0, 0.5, 2.9, 3.0], atol=1e-6)


@settings(max_examples=40)
@given(sizes, st.integers(0, 2**20), st.booleans())
def test_scaled_corrections(shape, seed, rotary):
    batch, length, heads, half, rank = shape
    width = 2 * heads * half
    gate = LoraGate(rotary_order(width, heads))
    layer = LoraLinear(nn.Linear(width, width, bias=False), gate, rank, 0.0, rotary=rotary)
    w, a, b = (numbers(seed + i, *s) for i, s in enumerate([(width, width), (width, rank), (rank, width)]))
    for parameter, value in zip((layer.base.weight, layer.lora_a, layer.lora_b), (w, a, b), strict=True):
        assign(parameter, value)
    x, scale = numbers(seed + 3, batch, length, width), np.abs(numbers(seed + 4, batch, width))
    order = [h * 2 * half + 2 * i + j for h in range(heads) for j in range(2) for i in range(half)]
    with gate.scaled(torch.from_numpy(scale)):
        found = layer.double()(torch.from_numpy(x)).detach().numpy()
    w, a, b = map(rounded, (w, a, b))
    for row in range(batch):
        for position in range(length):
            change = (x[row, position] @ a) @ b
            wanted = w @ x[row, position] + change * (scale[row, order] if rotary else scale[row])
            np.testing.assert_allclose(found[row, position], wanted, atol=1e-6, rtol=0)


def test_float32_is_within_a_millionth():
    torch.manual_seed(0)
    gate = LoraGate(rotary_order(64, 4))
    layer = LoraLinear(nn.Linear(64, 64, bias=False), gate, 8, 0.0, rotary=False)
    nn.init.normal_(layer.lora_b, std=0.05)
    x, scale = torch.rand(2, 5, 64) - 0.5, 3 * torch.rand(2, 64)
    with gate.scaled(scale):
        found = layer(x).detach().numpy()
    w, a, b = (p.detach().double().numpy() for p in (layer.base.weight, layer.lora_a, layer.lora_b))
    wanted = x.double().numpy() @ w.T + x.double().numpy() @ a @ b * scale.double().numpy()[:, None]
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=0)


def test_the_gate_closes_again():
    gate = LoraGate(rotary_order(4, 1))
    assert gate.scale_of(rotary=True) is None
    with gate.scaled(2.0):
        with gate.scaled(None):
            assert gate.scale_of(rotary=False) is None
        assert gate.scale_of(rotary=False) == 2.0
    with pytest.raises(KeyError), gate.scaled(1.0):
        raise KeyError
    assert gate.scale_of(rotary=False) is None


def test_training_starts_from_the_frozen_layer():
    gate = LoraGate(rotary_order(8, 2))
    layer = LoraLinear(nn.Linear(8, 8, bias=False), gate, 2, 0.5, rotary=False)
    x = torch.randn(1, 3, 8)
    with gate.scaled(3.0):
        torch.testing.assert_close(layer(x), layer.base(x))
