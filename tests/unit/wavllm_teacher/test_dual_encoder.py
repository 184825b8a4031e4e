"""The dual encoder: its sizes, either encoder absent, and its folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from unit.wavllm_teacher.tiny import voice
from unit.wavllm_teacher.tiny_wavlm import TINY_WAVLM, write_wavlm

from edgekit.errors import ArtifactError
from edgekit.metrics import DIMENSIONS
from wavllm_teacher import checkpoint
from wavllm_teacher.dual_encoder import SIZES, DualEncoder, DualShape, DualTeacher, load, load_encoders
from wavllm_teacher.pooling import length_mask

SHAPE = DualShape(
    whisper_hidden=8, wavlm_hidden=6, channels=5, bottleneck=3, projection=7, fusion=9, attention=4
)
BOTH = {"whisper": (4, 16), "wavlm": (4, 16)}


@pytest.fixture(scope="module")
def wavlm_dir(tmp_path_factory) -> Path:
    return write_wavlm(tmp_path_factory.mktemp("encoders") / "wavlm", TINY_WAVLM)


def random_network(encoders=BOTH, shape=SHAPE) -> DualEncoder:
    torch.manual_seed(0)
    network = DualEncoder(shape, encoders).eval()
    for head in network.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)
    return network


def clips(lengths: dict[str, list[int]], width: int = 16) -> dict[str, list[torch.Tensor]]:
    torch.manual_seed(1)
    return {name: [torch.randn(4, n, width) for n in counts] for name, counts in lengths.items()}


def test_paper_sizes():
    with torch.device("meta"):
        network = DualEncoder(SIZES["paper"], {"whisper": (1, 1280), "wavlm": (13, 768)})
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in network.named_children()}
    assert counts["branches"] == 12_002_048 + 5_906_445
    assert counts["fusion"] == 16_781_312


def test_small_is_small():
    network = DualEncoder(SIZES["small"], {"whisper": (7, 512), "wavlm": (13, 768)})
    assert sum(p.numel() for p in network.parameters()) < 2e6


def test_is_adapters_fusion_pooling_head():
    network, batch = random_network(), clips({"whisper": [20], "wavlm": [17]})
    whisper, wavlm = (network.branches[name](batch[name])[0] for name in ("whisper", "wavlm"))
    assert (whisper.shape, wavlm.shape) == ((1, 5, 7), (1, 5, 7))
    fused = network.fusion(torch.cat([whisper, wavlm], dim=2))
    pooled = network.norm(network.pool(fused, torch.ones(1, 5, dtype=torch.bool)))
    wanted = torch.cat([network.heads[name](pooled) for name in DIMENSIONS], dim=1)
    torch.testing.assert_close(network(batch), wanted)


@pytest.mark.parametrize("longer", ["whisper", "wavlm"])
def test_both_are_cut_to_the_shorter(longer):
    network = random_network()
    batch = clips({"whisper": [33], "wavlm": [33]})
    cut = {**batch, longer: [torch.cat([batch[longer][0], torch.full((4, 8, 16), 0.0)], dim=1)]}
    # A longer clip changes the last frame that its convolutions see; the frames before it stay.
    found = network.branches[longer](cut[longer])[0]
    assert found.shape[1] == network.branches[longer](batch[longer])[0].shape[1] + 2
    frames = {name: network.branches[name](cut[name])[0] for name in cut}
    fused = network.fusion(torch.cat([frames[name][:, :9] for name in ("whisper", "wavlm")], dim=2))
    wanted = network.norm(network.pool(fused, length_mask(torch.tensor([9]))))
    torch.testing.assert_close(network.embed(cut), wanted)


@pytest.mark.parametrize("names", [("whisper",), ("wavlm",), ("whisper", "wavlm")])
def test_a_clip_in_a_batch_is_a_clip_alone(names):
    network = random_network({name: BOTH[name] for name in names})
    lengths = {"whisper": [30, 7, 21], "wavlm": [29, 6, 20]}
    batch = {name: found for name, found in clips(lengths).items() if name in names}
    together = network(batch)
    alone = [network({name: [found[i]] for name, found in batch.items()}) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert not torch.allclose(together[0], together[1])


def test_encoders_are_concatenated_in_one_order():
    one, two = random_network(), random_network(dict(reversed(BOTH.items())))
    batch = clips({"whisper": [20], "wavlm": [20]})
    assert list(two.branches) == ["whisper", "wavlm"]
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(batch), two(dict(reversed(batch.items()))))


def test_one_dimension_alone_is_that_of_all():
    network, batch = random_network(), clips({"whisper": [20, 9], "wavlm": [20, 9]})
    assert torch.equal(network(batch, ("valence",))[:, 0], network(batch)[:, 2])


def test_starts_from_a_constant():
    network = DualEncoder(SHAPE, BOTH).eval()
    assert torch.equal(network(clips({"whisper": [9], "wavlm": [9]})), torch.full((1, 3), 0.5))


def write_teacher(folder: Path, sources: dict[str, Path], shape: DualShape = SHAPE) -> DualTeacher:
    """Write a folder with random weights, and return what lies in it."""
    teacher = DualTeacher(shape, load_encoders(sources))
    network = random_network({name: (len(b.mean), 16) for name, b in teacher.trained.branches.items()}, shape)
    teacher.trained.load_state_dict(network.state_dict())
    folder.mkdir()
    checkpoint.save(teacher.trained, folder / "adapters.safetensors", half=False)
    for name, source in sources.items():
        (folder / name).symlink_to(source)
    return teacher


@pytest.mark.parametrize("names", [("whisper",), ("wavlm",), ("whisper", "wavlm")])
def test_a_folder_gives_the_same_labels(names, tmp_path, encoder_dir, wavlm_dir):
    sources = {"whisper": encoder_dir, "wavlm": wavlm_dir}
    teacher = write_teacher(tmp_path / "t", {name: sources[name] for name in names})
    speech = [voice(0.5, 1), voice(0.9, 2)]
    loaded = load(tmp_path / "t", {"shape": SHAPE.to_dict(), "encoders": list(names)})
    found = loaded.predict(speech)
    assert found.dtype == np.float32
    assert found.shape == (2, 3)
    assert np.array_equal(found, teacher.predict(speech))
    assert np.array_equal(found[1:], loaded.predict(speech[1:]))
    assert loaded.predict([]).shape == (0, 3)


def test_reads_the_encoders_states(tmp_path, encoder_dir, wavlm_dir):
    teacher = write_teacher(tmp_path / "t", {"whisper": encoder_dir, "wavlm": wavlm_dir})
    speech = voice(0.7, 4)
    states = {name: [encoder(speech)] for name, encoder in teacher.encoders.items()}
    assert np.array_equal(teacher.predict([speech]), teacher.trained(states).detach().numpy())


def test_last_whisper_state_alone(tmp_path, encoder_dir):
    teacher = write_teacher(tmp_path / "t", {"whisper": encoder_dir}, replace(SHAPE, whisper_mix=False))
    assert not hasattr(teacher.trained.branches["whisper"], "output_weights")
    speech = voice(0.7, 4)
    last = {"whisper": [teacher.encoders["whisper"](speech)[-1:]]}
    assert np.array_equal(teacher.predict([speech]), teacher.trained(last).detach().numpy())


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"encoders": []}, ValueError, r"encoders are \[\]"),
        ({"encoders": ["hubert"]}, ValueError, "hubert"),
        ({"encoders": ["whisper", "wavlm"]}, ArtifactError, "no WavLM encoder here"),
        ({"shape": {"depth": 3}}, TypeError, "depth"),
        (
            {"shape": {**SHAPE.to_dict(), "fusion": 8}},
            ArtifactError,
            r"tensor fusion.weight has shape \(9, 7\)",
        ),
    ],
)
def test_wrong_facts(tmp_path, encoder_dir, facts, error, message):
    write_teacher(tmp_path / "t", {"whisper": encoder_dir})
    whole = {"shape": SHAPE.to_dict(), "encoders": ["whisper"], **facts}
    with pytest.raises(error, match=message):
        load(tmp_path / "t", whole)


def test_another_encoder_does_not_fit(tmp_path, encoder_dir, wavlm_dir):
    write_teacher(tmp_path / "t", {"wavlm": wavlm_dir})
    deeper = write_wavlm(tmp_path / "deeper", {**TINY_WAVLM, "num_hidden_layers": 4})
    (tmp_path / "t/wavlm").unlink()
    (tmp_path / "t/wavlm").symlink_to(deeper)
    with pytest.raises(ArtifactError, match=r"branches\.wavlm\.\w+ has shape \(4"):
        load(tmp_path / "t", {"shape": SHAPE.to_dict(), "encoders": ["wavlm"]})


def test_shape_survives_json():
    assert DualShape(**json.loads(json.dumps(SHAPE.to_dict()))) == SHAPE
