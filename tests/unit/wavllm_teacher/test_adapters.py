"""The adapters: sizes of the paper, names of the paper, and clips that do not see each other's padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavllm_teacher.adapters import Bottleneck, Branch, Conv1dSubsampler, padded

PAPER_SIZES = (1024, 512, 2048)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


class TestPaper:
    def test_whisper_adapter(self):
        with torch.device("meta"):
            branch = Branch(1, 1280, 1280, *PAPER_SIZES)
        assert count(branch.subsample) == 8_850_688
        assert count(branch.adapter) == 1_052_160
        assert count(branch.projector) == 2_099_200
        assert count(branch) == 12_002_048

    def test_wavlm_adapter(self):
        with torch.device("meta"):
            branch = Branch(13, 768, 512, *PAPER_SIZES)
        assert count(branch.subsample) == 2_755_072
        assert branch.output_weights.shape == (13,)
        assert count(branch) == 5_906_445

    def test_names(self):
        names = {name.rsplit(".", 1)[0] for name, _ in Branch(1, 4, 4, 4, 2, 4).named_parameters()}
        assert names == {
            "subsample.conv_layers.0",
            "subsample.conv_layers.1",
            "adapter.down_layer",
            "adapter.up_layer",
            "adapter.layer_norm",
            "projector",
        }


def test_subsampling_is_two_gated_convolutions():
    torch.manual_seed(0)
    subsample = Conv1dSubsampler(6, 8, 5)
    frames = torch.randn(1, 11, 6)
    x = frames.transpose(1, 2)
    for conv in subsample.conv_layers:
        y = torch.nn.functional.conv1d(x, conv.weight, conv.bias, stride=2, padding=1)
        value, gate = y.chunk(2, dim=1)
        x = value * torch.sigmoid(gate)
    found, lengths = subsample(frames, torch.tensor([11]))
    torch.testing.assert_close(found, x.transpose(1, 2))
    assert found.shape == (1, 3, 5)
    assert lengths.tolist() == [3]


def test_bottleneck():
    torch.manual_seed(0)
    block = Bottleneck(6, 3)
    x = torch.randn(2, 4, 6)
    hidden = torch.nn.functional.gelu(x @ block.down_layer.weight.T + block.down_layer.bias)
    change = hidden @ block.up_layer.weight.T + block.up_layer.bias
    change = (change - change.mean(-1, keepdim=True)) / (
        change.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    torch.testing.assert_close(block(x), x + change)


def some_branch(states: int = 3) -> Branch:
    torch.manual_seed(1)
    branch = Branch(states, 6, 8, 5, 3, 7).eval()
    branch.mean.normal_()
    branch.scale.uniform_(0.5, 20)
    return branch


@pytest.mark.parametrize("states", [1, 3])
def test_mix_is_a_weighted_sum_of_standardised_states(states):
    branch = some_branch(states)
    clip = torch.randn(states, 9, 6)
    weights = torch.tensor([1.0])
    if states > 1:
        branch.output_weights.data = torch.tensor([1.0, -1.0, 0.5])
        weights = torch.softmax(torch.tensor([1.0, -1.0, 0.5]), dim=0)
    wanted = sum(w * (x - m) / s for w, x, m, s in zip(weights, clip, branch.mean, branch.scale, strict=True))
    torch.testing.assert_close(branch.mix(branch.standardise([clip])), wanted)


def test_mix_learns():
    branch = some_branch()
    branch([torch.randn(3, 9, 6)])[0].sum().backward()
    assert branch.output_weights.grad.abs().min() > 0


def test_states_are_not_changed():
    clip = torch.ones(3, 9, 6)
    some_branch()([clip])
    assert torch.equal(clip, torch.ones(3, 9, 6))


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_a_clip_in_a_batch_is_a_clip_alone(lengths):
    branch = some_branch()
    clips = [torch.randn(3, length, 6) * 30 for length in lengths]
    frames, valid = branch(clips)
    assert valid.tolist() == [-(-length // 4) for length in lengths]
    for clip, row, count_valid in zip(clips, frames, valid, strict=True):
        alone, _ = branch([clip])
        torch.testing.assert_close(row[:count_valid], alone[0])


def test_cached_states_are_read_as_they_are():
    branch, clip = some_branch(), torch.randn(3, 9, 6)
    torch.testing.assert_close(branch([clip.half()])[0], branch([clip.half().float()])[0])


def test_dropout_is_for_training():
    branch = Branch(1, 6, 8, 5, 3, 7, dropout=0.5)
    clip = [torch.randn(1, 9, 6)]
    assert not torch.equal(branch(clip)[0], branch(clip)[0])
    branch.eval()
    assert torch.equal(branch(clip)[0], branch(clip)[0])


def test_padding_is_at_the_end():
    rows = torch.arange(1.0, 5.0)[:, None]
    assert padded(rows, torch.tensor([1, 3]))[..., 0].tolist() == [[1, 0, 0], [2, 3, 4]]
