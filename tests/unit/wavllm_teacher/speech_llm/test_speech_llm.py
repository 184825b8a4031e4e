"""The model: its sizes, what is trained, and each part against what it is made of."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, WHISPER_ALONE, tiny
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ConfigError
from wavllm_teacher.encoder import WINDOW_SAMPLES
from wavllm_teacher.speech_llm.decoder import causal_mask, settings
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Prompt, Request, tokenise
from wavllm_teacher.speech_llm.sizes import SIZES, DecoderShape, SpeechLlmShape, named
from wavllm_teacher.speech_llm.tokens import ByteTokenizer


def trained_count(model: SpeechLlm, part: str = "") -> int:
    return sum(value.numel() for name, value in model.trained() if name.startswith(part))


@pytest.fixture(scope="module")
def paper() -> dict[int, SpeechLlm]:
    with torch.device("meta"):
        return {stage: SpeechLlm(SIZES["wavllm-7b"], stage) for stage in (1, 2)}


def test_the_paper_trains_68_and_77_million_parameters(paper):
    assert trained_count(paper[1]) == 68_244_237
    assert trained_count(paper[2]) == 76_642_062
    assert sum(p.numel() for p in paper[2].parameters()) == 7_546_223_486


@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("fusion.whisper", 12_002_048),
        ("fusion.wavlm", 5_906_445),
        ("fusion.projection", 16_781_312),
        ("decoder", 33_554_432),
        ("prompt_adapter", 8_397_825),
        ("ears", 0),
    ],
)
def test_parts_of_the_paper(paper, part, count):
    assert trained_count(paper[2], part) == count


def test_the_paper_without_wavlm():
    with torch.device("meta"):
        model = SpeechLlm(replace(SIZES["wavllm-7b"], wavlm=None, wavlm_adapter=None), 2)
    assert trained_count(model, "fusion.whisper") == 12_002_048
    assert trained_count(model, "fusion.projection") == 2048 * 4096 + 4096
    assert trained_count(model, "fusion") == 12_002_048 + 2048 * 4096 + 4096


@pytest.mark.parametrize("shape", [TINY, WHISPER_ALONE], ids=["both", "alone"])
def test_only_adapters_are_trained(shape):
    model = tiny(shape=shape)
    parts = {name.split(".")[0] for name, _ in model.trained()}
    assert parts == {"fusion", "decoder", "prompt_adapter"}
    assert {name.rsplit(".", 1)[1] for name, _ in model.trained() if name.startswith("decoder")} == {
        "lora_a",
        "lora_b",
    }
    prompts, heard = request_batch(model)
    model(model.sequences(prompts, heard)).logsumexp(2).sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for _, value in model.trained())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def request_batch(model: SpeechLlm):
    requests = [Request("hi", voice(0.7, 1)), Request("what is said?", voice(1.3, 2)), Request("text alone")]
    prompts = [tokenise(request, ByteTokenizer()) for request in requests]
    heard = [None if r.samples is None else model.ears(r.samples) for r in requests]
    return prompts, heard


def test_gradients_are_the_same_when_blocks_are_computed_again():
    gradients = []
    for checkpointed in (False, True):
        model = tiny().train()
        if checkpointed:
            model.decoder.checkpoint_gradients()
        model(model.sequences(*request_batch(model))).logsumexp(2).sum().backward()
        gradients.append({name: value.grad for name, value in model.trained()})
    for name, wanted in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], wanted)


def plain_llama(model: SpeechLlm) -> LlamaForCausalLM:
    """The decoder as transformers has it, without corrections."""
    llama = LlamaForCausalLM(settings(model.shape.decoder)).train(mode=False)
    tensors = {
        name.replace(".base.", "."): value
        for name, value in model.decoder.llama.state_dict().items()
        if "lora" not in name
    }
    llama.load_state_dict(tensors)
    return llama


@torch.no_grad()
def test_without_corrections_it_is_llama():
    model = tiny(1)
    for name, value in model.trained():
        if name.endswith("lora_b"):
            value.zero_()
    tokens = torch.randint(0, 256, (2, 9))
    found = model.decoder(model.decoder.embed(tokens), torch.ones(2, 9, dtype=torch.bool), None)
    torch.testing.assert_close(found, plain_llama(model)(tokens).logits)


@torch.no_grad()
def test_merged_corrections_are_the_same_model():
    model = tiny(1)
    llama = plain_llama(model)
    for theirs, ours in zip(llama.model.layers, model.decoder.llama.model.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            layer = getattr(ours.self_attn, name)
            # alpha / rank is 1 in this shape.
            getattr(theirs.self_attn, name).weight += (layer.lora_a @ layer.lora_b).T
    tokens = torch.randint(0, 256, (2, 9))
    found = model.decoder(model.decoder.embed(tokens), torch.ones(2, 9, dtype=torch.bool), None)
    torch.testing.assert_close(found, llama(tokens).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_prompt_runs_without_corrections_and_final_norm(model):
    tokens = torch.randint(0, 256, (1, 7))
    llama = plain_llama(model)
    llama.model.norm = torch.nn.Identity()
    wanted = llama.model(tokens).last_hidden_state
    found = model.decoder.prompt_states(tokens, torch.ones(1, 7, dtype=torch.bool))
    torch.testing.assert_close(found, wanted)
    behind = torch.cat([tokens, torch.full((1, 3), 9)], dim=1)
    padded = model.decoder.prompt_states(behind, torch.arange(10)[None] < 7)
    torch.testing.assert_close(padded[:, :7], wanted)
    assert model.decoder.gate.scale_of(rotary=False) is None


@torch.no_grad()
def test_the_prompt_decides_the_scale(model):
    prompts = [Prompt((256,), (1,), question) for question in ((1, 2, 3), (4,), (1, 2, 3))]
    scale = model.scale(prompts)
    torch.testing.assert_close(scale[0], scale[2])
    assert (scale[0] - scale[1]).abs().max() > 1e-4
    torch.testing.assert_close(model.scale(prompts[1:2])[0], scale[1])
    assert tiny(1).scale(prompts) is None


def test_a_mask_row_is_never_empty():
    valid = torch.tensor([[False, False, True, True]])
    wanted = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert causal_mask(valid, 4)[0, 0].int().tolist() == wanted
    assert causal_mask(valid, 1)[0, 0].int().tolist() == wanted[3:]


@torch.no_grad()
def test_whisper_hears_padded_windows_as_it_was_trained(model):
    samples = voice(1.01, 3)
    inputs = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt").input_features
    encoder = WhisperEncoder(WhisperConfig.from_dict(dict(TINY.whisper))).train(mode=False)
    encoder.load_state_dict(model.ears.whisper.encoder.state_dict())
    wanted = encoder(inputs).last_hidden_state[0, :51]
    found = model.ears(samples).whisper
    assert len(found) == 1
    torch.testing.assert_close(found[0], wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_part_of_whispers_blocks_may_be_heard(model):
    samples = voice(1.01, 3)
    inputs = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt").input_features
    encoder = WhisperEncoder(WhisperConfig.from_dict(dict(TINY.whisper))).train(mode=False)
    encoder.load_state_dict(model.ears.whisper.encoder.state_dict())
    wanted = encoder(inputs, output_hidden_states=True).hidden_states[1][0, :51]
    for blocks, same in ((1, True), (2, False)):
        other = tiny(shape=replace(TINY, whisper_blocks=blocks))
        other.ears.load_state_dict(model.ears.state_dict())
        (found,) = other.ears(samples).whisper
        assert torch.allclose(found, wanted, atol=1e-4, rtol=1e-4) is same
    # All of them are what is heard without the entry.
    torch.testing.assert_close(found, model.ears(samples).whisper[0], atol=0, rtol=0)
    for blocks in (0, 3):
        with pytest.raises(ConfigError, match="of Whisper's 2 blocks"):
            tiny(shape=replace(TINY, whisper_blocks=blocks))


@torch.no_grad()
@pytest.mark.parametrize("windows", [False, True])
def test_long_audio_is_its_windows(model, windows):
    samples = voice(30.5, 4)
    model.ears.wavlm_windows = windows
    whole = model.ears(samples)
    first, second = model.ears(samples[:WINDOW_SAMPLES]), model.ears(samples[WINDOW_SAMPLES:])
    model.ears.wavlm_windows = False
    assert len(first.whisper) == len(second.whisper) == 1
    for found, wanted in zip(whole.whisper, (*first.whisper, *second.whisper), strict=True):
        torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    assert [len(window) for window in whole.whisper] == [1500, 25]
    assert whole.wavlm.shape[1] == (1499 + 24 if windows else 1524)
    embedded = model.fusion([whole])[0]
    assert len(embedded) == 381
    # The first window's embeddings do not depend on there being a second.
    alone = model.fusion([replace(whole, whisper=whole.whisper[:1])])[0]
    torch.testing.assert_close(embedded[:374], alone[:374])


@torch.no_grad()
@pytest.mark.parametrize(
    "shape", [TINY, replace(TINY, wavlm_windows=True), WHISPER_ALONE], ids=["both", "windows", "alone"]
)
def test_positions_are_known_before_anything_is_heard(shape):
    model = tiny(1, shape)
    clip = voice(30.5, 1)
    lengths = (1, 1600, 1920, 2000, 5119, 5120, 5121, 5360, 5520, 5521, 16_000)
    for samples in (*lengths, WINDOW_SAMPLES - 1, WINDOW_SAMPLES + 1, WINDOW_SAMPLES + 1800, 481_360):
        heard = model.ears(clip[:samples])
        assert model.ears.positions(samples) == len(model.fusion([heard])[0]), samples


@torch.no_grad()
def test_fusion_is_adapters_side_by_side(model):
    heard = [model.ears(voice(seconds, 5)) for seconds in (0.5, 1.2)]
    fusion = model.fusion
    for clip, found in zip(heard, fusion(heard), strict=True):
        weights = torch.softmax(fusion.wavlm.output_weights, 0)
        mixed = sum(weight * state for weight, state in zip(weights, clip.wavlm, strict=True))
        sides = []
        for adapter, frames in ((fusion.whisper, clip.whisper[0]), (fusion.wavlm, mixed)):
            x = frames.T[None]
            for conv in adapter.subsample.conv_layers:
                left, gate = conv(x).chunk(2, dim=1)
                x = left * torch.sigmoid(gate)
            sides.append(adapter.projector(adapter.adapter(x[0].T)))
        most = min(map(len, sides))
        wanted = fusion.projection(torch.cat([side[:most] for side in sides], dim=1))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_wavlm_fusion_is_a_projection():
    model = tiny(1, WHISPER_ALONE)
    heard = [model.ears(voice(seconds, 5)) for seconds in (0.5, 1.2)]
    assert [clip.wavlm for clip in heard] == [None, None]
    for clip, found in zip(heard, model.fusion(heard), strict=True):
        (alone,) = model.fusion.whisper(clip.whisper)
        projection = model.fusion.projection
        torch.testing.assert_close(found, alone @ projection.weight.T + projection.bias)
    # Nothing is cut to what WavLM hears: 25 frames of Whisper, 24 of WavLM.
    assert [len(found) for found in model.fusion(heard)] == [7, 15]


def test_impossible_configurations():
    with pytest.raises(ConfigError, match="no stage 3"):
        SpeechLlm(TINY, 3)
    with pytest.raises(ConfigError, match="3 heads do not share 64"):
        DecoderShape(vocabulary=9, width=64, layers=1, heads=3, feed_forward=8)
    with pytest.raises(ConfigError, match="'huge'") as error:
        named("huge")
    assert "wavllm-7b, tiny" in error.value.hint
    with pytest.raises(ConfigError, match="ears"):
        SpeechLlmShape.from_dict({**TINY.to_dict(), "ears": 2})
    with pytest.raises(ConfigError, match="DecoderShape"):
        SpeechLlmShape.from_dict({**TINY.to_dict(), "decoder": None})


@pytest.mark.parametrize("missing", ["wavlm", "wavlm_adapter"])
def test_wavlm_comes_with_its_adapter(missing):
    with pytest.raises(ConfigError, match="WavLM and its adapter"):
        replace(TINY, **{missing: None})


@pytest.mark.parametrize("shape", [*SIZES.values(), WHISPER_ALONE], ids=[*SIZES, "alone"])
def test_sizes_survive_json(shape):
    assert SpeechLlmShape.from_dict(json.loads(json.dumps(shape.to_dict()))) == shape


def test_too_long_for_the_decoder():
    model = tiny(1, replace(TINY, decoder=replace(TINY.decoder, positions=64)))
    prompts = [Prompt((256,), tuple(range(70)), (1,))]
    with pytest.raises(ConfigError, match="71 positions, the decoder has 64"):
        model.sequences(prompts, [None])


def test_training_leaves_the_ears_alone():
    model = tiny()
    wanted = model.ears(voice(0.5, 1))
    found = model.train().ears(voice(0.5, 1))
    assert model.training
    # In training, WavLM would leave whole layers out.
    assert torch.equal(found.wavlm, wanted.wavlm)
    assert torch.equal(found.whisper[0], wanted.whisper[0])
    assert not any(module.training for module in model.ears.modules())


def test_silence_and_very_short_clips(model):
    for samples in (np.zeros(16000, np.float32), np.ones(1, np.float32)):
        heard = model.ears(samples)
        assert torch.isfinite(model.fusion([heard])[0]).all()


@pytest.mark.parametrize(
    ("part", "entry", "value"),
    [
        ("decoder", "heads", 0),
        ("decoder", "layers", 2.5),
        ("decoder", "norm_epsilon", "x"),
        ("lora", "rank", 0),
        ("lora", "dropout", 1.0),
        ("prompt", "limit", float("inf")),
        ("whisper_adapter", "hidden", True),
    ],
)
def test_impossible_sizes_are_named(part, entry, value):
    entries = TINY.to_dict()
    entries[part][entry] = value
    with pytest.raises(ConfigError, match=f"{entry} is {value!r}"):
        SpeechLlmShape.from_dict(entries)


@pytest.mark.parametrize(
    ("part", "entry", "value"),
    [
        *(("whisper", "d_model", value) for value in (0, -32, 2, 2.5, "x", None, True)),
        ("whisper", "encoder_attention_heads", 3),
        ("whisper", "encoder_attention_heads", 0),
        ("whisper", "encoder_layers", 0),
        ("whisper", "num_mel_bins", -1),
        ("whisper", "max_source_positions", 1499),
        ("whisper", "activation_function", "zzz"),
        ("whisper", "model_type", "wavlm"),
        ("wavlm", "hidden_size", 0),
        ("wavlm", "num_attention_heads", 3),
        ("wavlm", "num_hidden_layers", -1),
        ("wavlm", "conv_dim", []),
        ("wavlm", "conv_dim", [16, 0]),
        ("wavlm", "conv_kernel", "x"),
        ("wavlm", "conv_kernel", [1000] * 7),
        ("wavlm", "conv_stride", [5, 2, 2, 2, 2, 2, 1]),
        ("wavlm", "hidden_act", 5),
        ("wavlm", "num_conv_pos_embedding_groups", 3),
        ("wavlm", "num_buckets", 3),
        ("wavlm", "max_bucket_distance", 80),
        ("wavlm", "layer_norm_eps", float("nan")),
    ],
)
def test_impossible_entries_of_an_encoder_are_named(part, entry, value):
    entries = TINY.to_dict()
    entries[part][entry] = value
    with pytest.raises(ConfigError, match=re.escape(f"{part}: {entry} is {value!r}")) as error:
        SpeechLlm(SpeechLlmShape.from_dict(entries), 1, empty=True)
    assert error.value.hint


@pytest.mark.parametrize(
    ("part", "entry", "value", "message"),
    [
        ("whisper", "dropout", "x", "whisper: impossible entries: .*dropout"),
        ("wavlm", "conv_dim", [16, 16], r"wavlm: impossible entries: .*len\(config.conv_dim\) = 2"),
        ("wavlm", "feat_extract_norm", "zzz", "wavlm: impossible entries: .*feat_extract_norm. is zzz"),
    ],
)
def test_what_transformers_finds_impossible_is_told(part, entry, value, message):
    entries = TINY.to_dict()
    entries[part][entry] = value
    with pytest.raises(ConfigError, match=message):
        SpeechLlm(SpeechLlmShape.from_dict(entries), 1, empty=True)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("whisper", None, "whisper is None"),
        ("wavlm", 5, "wavlm is 5"),
        ("wavlm_windows", "x", "wavlm_windows is 'x'"),
        ("whisper_blocks", "2", "'2' of Whisper's 2 blocks"),
    ],
)
def test_entries_of_another_kind_are_named(entry, value, message):
    with pytest.raises(ConfigError, match=message):
        SpeechLlm(SpeechLlmShape.from_dict({**TINY.to_dict(), entry: value}), 1, empty=True)
