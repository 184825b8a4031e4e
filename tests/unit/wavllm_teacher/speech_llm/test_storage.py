"""Checkpoints: every published layout, against a computation that shares no code; and our own."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, WavLMModel
from unit.wavllm_teacher.speech_llm import published
from unit.wavllm_teacher.speech_llm.llm_tiny import TINY, WHISPER_ALONE, tiny
from unit.wavllm_teacher.speech_llm.published import Reference
from unit.wavllm_teacher.tiny import voice

from edgekit.errors import ArtifactError, ConfigError, UnsupportedError
from wavllm_teacher.encoder import load_encoder
from wavllm_teacher.speech_llm import storage
from wavllm_teacher.speech_llm.hearing import Heard
from wavllm_teacher.speech_llm.model import SpeechLlm
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.storage import load_frozen, load_published
from wavllm_teacher.speech_llm.tokens import ByteTokenizer
from wavllm_teacher.wavlm_states import load_wavlm

LLAMA = "gpt_model.model_llama."


def encoders(model: SpeechLlm) -> dict[str, torch.Tensor]:
    """The frozen encoders as WavLLM's code saves them: transformers' names, but weight norm as before."""
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    found = {"wavlm_encoder.model.masked_spec_embed": torch.zeros(32)}
    for own, prefix in (
        (model.ears.whisper, "audio_encoder.model."),
        (model.ears.wavlm, "wavlm_encoder.model."),
    ):
        for name, tensor in own.encoder.state_dict().items():
            for new, spelled in old.items():
                name = name.replace(new, spelled)
            found[prefix + name] = tensor.clone()
    return found


@pytest.fixture(scope="module")
def whole(model) -> dict[str, torch.Tensor]:
    """A WavLLM checkpoint with everything in it."""
    decoder = {LLAMA + name: tensor for name, tensor in published.llama(TINY).items()}
    return {**encoders(model), **decoder, **published.adapters(TINY)}


def write_whole(folder: Path, tensors) -> Path:
    torch.save(
        {"args": argparse.Namespace(arch="x"), "cfg": {"lr": [1e-4]}, "model": tensors}, folder / "w.pt"
    )
    return folder / "w.pt"


def heard(seed: int, *windows: int, frames: int) -> Heard:
    source = torch.Generator().manual_seed(seed)
    states = tuple(torch.randn(n, 32, generator=source) for n in windows)
    return Heard(states, torch.randn(3, frames, 32, generator=source))


@torch.no_grad()
def test_a_published_checkpoint_computes_what_its_own_code_does(tmp_path, whole):
    model = SpeechLlm(TINY, 2, empty=True)
    load_published(model, write_whole(tmp_path, whole))
    reference = Reference(TINY, whole)
    clips = [heard(1, 30, frames=29), heard(2, 1500, 17, frames=1515), None]
    prompts = [tokenise(Request(text), ByteTokenizer()) for text in ("hi", "who is speaking?", "now text")]
    sequences = model.train(mode=False).sequences(prompts, clips)
    logits = model(sequences)
    limits = []
    for row, (prompt, clip) in enumerate(zip(prompts, clips, strict=True)):
        parts = [reference.embed(prompt.before), reference.embed(prompt.after)]
        if clip is not None:
            parts.insert(1, reference.speech(clip.whisper, clip.wavlm))
        scale = reference.scale(prompt.question)
        wanted = reference.logits(torch.cat(parts), scale)
        torch.testing.assert_close(sequences.scale[row].double(), scale, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits[row, -len(wanted) :].double(), wanted, atol=2e-4, rtol=2e-4)
        limits += [int((scale == 0).sum()), int((scale == 3).sum()), int((scale % 3 > 0).sum())]
    assert min(limits) > 0


@torch.no_grad()
def test_the_same_in_float64_to_a_millionth(tmp_path, whole):
    model = SpeechLlm(TINY, 2, empty=True)
    load_published(model, write_whole(tmp_path, whole))
    for part in (model.fusion, model.decoder, model.prompt_adapter):
        part.double()
    prompt, clip = tokenise(Request("what does the voice tell?"), ByteTokenizer()), heard(3, 41, frames=40)
    reference = Reference(TINY, whole)
    sequences = model.train(mode=False).sequences([prompt], [clip])
    scale, spoken = reference.scale(prompt.question), reference.speech(clip.whisper, clip.wavlm)
    parts = [reference.embed(prompt.before), spoken, reference.embed(prompt.after)]
    # transformers computes the rotary angles in float32; everything else is exact.
    torch.testing.assert_close(model.fusion([clip])[0], spoken, atol=1e-12, rtol=0)
    torch.testing.assert_close(sequences.scale[0], scale, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        model(sequences)[0], reference.logits(torch.cat(parts), scale), atol=1e-6, rtol=0
    )


def test_encoders_of_a_published_checkpoint(tmp_path, whole, model):
    other = SpeechLlm(TINY, 2, empty=True)
    load_published(other, write_whole(tmp_path, whole))
    found, wanted = other.ears(voice(0.6, 1)), model.ears(voice(0.6, 1))
    torch.testing.assert_close(found.whisper[0], wanted.whisper[0], atol=0, rtol=0)
    torch.testing.assert_close(found.wavlm, wanted.wavlm, atol=0, rtol=0)
    assert sum(p.numel() for _, p in other.trained()) == sum(p.numel() for _, p in model.trained())


@pytest.fixture(scope="module")
def alone() -> dict[str, torch.Tensor]:
    """A WavLLM checkpoint of the variant without WavLM."""
    whisper = tiny(1, WHISPER_ALONE).ears.whisper.encoder.state_dict()
    decoder = {LLAMA + name: tensor for name, tensor in published.llama(TINY).items()}
    whole = {**decoder, **published.adapters(WHISPER_ALONE)}
    return whole | {f"audio_encoder.model.{name}": tensor for name, tensor in whisper.items()}


@torch.no_grad()
def test_a_published_checkpoint_without_wavlm(tmp_path, alone):
    model = SpeechLlm(WHISPER_ALONE, 2, empty=True)
    load_published(model, write_whole(tmp_path, alone))
    reference = Reference(WHISPER_ALONE, alone)
    clip = replace(heard(2, 1500, 17, frames=1), wavlm=None)
    wanted = reference.speech(clip.whisper, None)
    torch.testing.assert_close(model.fusion([clip])[0].double(), wanted, atol=1e-5, rtol=1e-5)
    assert len(wanted) == 380


def test_checkpoints_of_the_other_variant_are_refused(tmp_path, whole, alone):
    with pytest.raises(ArtifactError, match=r"unknown to this model \(wavlm_encoder"):
        load_published(SpeechLlm(WHISPER_ALONE, 2, empty=True), write_whole(tmp_path, whole))
    with pytest.raises(ArtifactError, match=r"missing \(.*fusion\.wavlm"):
        load_published(SpeechLlm(TINY, 2, empty=True), write_whole(tmp_path, alone))
    with pytest.raises(ConfigError, match="'wavlm'") as error:
        load_frozen(SpeechLlm(WHISPER_ALONE, 1, empty=True), {"wavlm": tmp_path})
    assert error.value.hint == "the parts are decoder, whisper"


def test_names_that_gradient_checkpointing_leaves(tmp_path, whole):
    wrapped = {
        name.replace("layers.1.", "layers.1._checkpoint_wrapped_module."): tensor
        for name, tensor in whole.items()
    }
    load_published(SpeechLlm(TINY, 2, empty=True), write_whole(tmp_path, wrapped))


@pytest.mark.parametrize("part", ["decoder", "whisper", "wavlm"])
def test_frozen_parts_from_their_own_checkpoints(tmp_path, whole, part):
    """Each part in its authors' layout and in transformers' is the part in the WavLLM checkpoint."""
    wanted = SpeechLlm(TINY, 2, empty=True)
    source = {
        "decoder": {**published.llama(TINY), "rope.freqs": torch.zeros(8)},
        "whisper": published.openai_whisper(TINY),
        "wavlm": published.microsoft_wavlm(TINY),
    }[part]
    nested = source if part == "decoder" else {"cfg": {}, "model_state_dict": source}
    torch.save(nested, tmp_path / "own.pth")
    without = dict(whole)
    for name in whole:
        frozen = {"decoder": LLAMA, "whisper": "audio_encoder.model.", "wavlm": "wavlm_encoder.model."}[part]
        if name.startswith(frozen) and "lora" not in name and "scale" not in name:
            del without[name]
    load_published(wanted, write_whole(tmp_path, without), {part: tmp_path / "own.pth"})
    storage.save_frozen(wanted, tmp_path)
    other = SpeechLlm(TINY, 2, empty=True)
    load_published(other, write_whole(tmp_path, without), {part: tmp_path / part})
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=0, rtol=0)
    assert storage.fingerprint(other, part) == storage.fingerprint(wanted, part)


@torch.no_grad()
def test_openai_and_microsoft_names_mean_what_they_say(tmp_path):
    """A few tensors by hand: a layout that mixes two of the same shape up would still load."""
    model = SpeechLlm(TINY, 1, empty=True)
    whisper, wavlm = published.openai_whisper(TINY), published.microsoft_wavlm(TINY)
    save_file(whisper, tmp_path / "whisper.safetensors")
    torch.save({"cfg": {}, "model": wavlm}, tmp_path / "wavlm.pt")
    load_frozen(model, {"whisper": tmp_path / "whisper.safetensors", "wavlm": tmp_path / "wavlm.pt"})
    first, second = model.ears.whisper.encoder.layers[0], model.ears.wavlm.encoder.encoder.layers[1]
    pairs = [
        (first.self_attn.q_proj.weight, whisper["encoder.blocks.0.attn.query.weight"]),
        (first.self_attn.k_proj.weight, whisper["encoder.blocks.0.attn.key.weight"]),
        (first.self_attn.v_proj.bias, whisper["encoder.blocks.0.attn.value.bias"]),
        (first.self_attn.out_proj.bias, whisper["encoder.blocks.0.attn.out.bias"]),
        (first.self_attn_layer_norm.bias, whisper["encoder.blocks.0.attn_ln.bias"]),
        (first.final_layer_norm.bias, whisper["encoder.blocks.0.mlp_ln.bias"]),
        (second.attention.q_proj.bias, wavlm["encoder.layers.1.self_attn.q_proj.bias"]),
        (second.attention.out_proj.bias, wavlm["encoder.layers.1.self_attn.out_proj.bias"]),
        (second.layer_norm.bias, wavlm["encoder.layers.1.self_attn_layer_norm.bias"]),
        (second.final_layer_norm.bias, wavlm["encoder.layers.1.final_layer_norm.bias"]),
        (second.attention.gru_rel_pos_const, wavlm["encoder.layers.1.self_attn.grep_a"]),
        (model.ears.wavlm.encoder.feature_projection.layer_norm.bias, wavlm["layer_norm.bias"]),
        (model.ears.wavlm.encoder.encoder.layer_norm.bias, wavlm["encoder.layer_norm.bias"]),
    ]
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, atol=0, rtol=0)


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
def test_whisper_with_its_decoder(tmp_path, model, prefix):
    tensors = {prefix + name: tensor for name, tensor in model.ears.whisper.encoder.state_dict().items()}
    if prefix:
        tensors |= {f"{prefix.replace('en', 'de', 1)}layers.0.fc1.weight": torch.ones(2, 2)}
        tensors |= {"proj_out.weight": torch.ones(2, 2)}
    save_file(tensors, tmp_path / "model.safetensors")
    load_frozen(SpeechLlm(TINY, 1, empty=True), {"whisper": tmp_path})


def drop(tensors):
    del tensors[f"{LLAMA}layers.2.attention.wk.weight"]


def drop_many(tensors):
    for layer in range(4):
        for name in ("wq", "wk"):
            del tensors[f"{LLAMA}layers.{layer}.attention.{name}_lora_A"]


def add(tensors):
    tensors[f"{LLAMA}layers.0.attention.wz.weight"] = torch.zeros(1)


def fifth_layer(tensors):
    tensors[f"{LLAMA}layers.4.ffn_norm.weight"] = torch.zeros(64)


def reshape(tensors):
    tensors["wavlm_audio_proj.weight"] = torch.zeros(64, 60)


def reshape_rotary(tensors):
    tensors[f"{LLAMA}layers.0.attention.wq.weight"] = torch.zeros(64)


def not_a_number(tensors):
    tensors[f"{LLAMA}norm.weight"] = torch.full((64,), float("nan"))


def whole_numbers(tensors):
    tensors[f"{LLAMA}norm.weight"] = torch.ones(64, dtype=torch.int8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"1 tensor missing \(decoder.llama.model.layers.2.self_attn.k_proj.base.weight\)"),
        (drop_many, r"8 tensors missing \(.*, .*, .*, .* and 4 more\)"),
        (add, r"1 tensor unknown to this model \(gpt_model.model_llama.layers.0.attention.wz.weight\)"),
        (fifth_layer, r"unknown to this model \(gpt_model.model_llama.layers.4.ffn_norm.weight\)"),
        (reshape, r"1 tensor of another shape \(wavlm_audio_proj.weight \(64, 60\), expected \(64, 64\)\)$"),
        (reshape_rotary, r"another shape \(.*attention.wq.weight \(64,\), expected \(64, 64\)\)$"),
        (not_a_number, r"NaN or infinite \(gpt_model.model_llama.norm.weight\)$"),
        (whole_numbers, r"another type \(gpt_model.model_llama.norm.weight torch.int8\)$"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, whole, change, message):
    tensors = dict(whole)
    change(tensors)
    with pytest.raises(ArtifactError, match=message) as error:
        load_published(SpeechLlm(TINY, 2, empty=True), write_whole(tmp_path, tensors))
    assert "w.pt" in error.value.what
    assert error.value.hint


def test_stage_one_has_no_place_for_the_prompt_adapter(tmp_path, whole):
    with pytest.raises(ArtifactError, match=r"6 tensors unknown to this model \(.*scale_fc_1"):
        load_published(SpeechLlm(TINY, 1, empty=True), write_whole(tmp_path, whole))


def test_unusable_files(tmp_path):
    model = SpeechLlm(TINY, 1, empty=True)
    with pytest.raises(ArtifactError, match="no such file"):
        load_frozen(model, {"decoder": tmp_path / "nowhere"})
    with pytest.raises(ConfigError, match="'ears'"):
        load_frozen(model, {"ears": tmp_path})
    (tmp_path / "x.safetensors").write_bytes(b"no weights")
    torch.save({"model": {"x": Path("code")}}, tmp_path / "x.pt")
    torch.save({"model": [1, 2]}, tmp_path / "y.pt")
    for name, message in (("x.safetensors", "damaged"), ("x.pt", "damaged"), ("y.pt", "tensors by name")):
        with pytest.raises(ArtifactError, match=message):
            load_frozen(model, {"decoder": tmp_path / name})
    for part in range(2):
        (tmp_path / f"consolidated.0{part}.pth").touch()
    with pytest.raises(UnsupportedError, match="2 model-parallel parts"):
        load_frozen(model, {"decoder": tmp_path})


@torch.no_grad()
def answer(model: SpeechLlm) -> torch.Tensor:
    prompt = tokenise(Request("hi"), ByteTokenizer())
    return model(model.sequences([prompt], [model.ears(voice(0.5, 1))]))


@pytest.mark.parametrize(("stage", "shape"), [(1, TINY), (2, TINY), (2, WHISPER_ALONE)])
def test_our_own_folder(tmp_path, stage, shape):
    model = tiny(stage, shape)
    storage.save_adapters(model, tmp_path)
    storage.save_frozen(model, tmp_path)
    assert (tmp_path / "wavlm").exists() is (shape is TINY)
    torch.testing.assert_close(answer(storage.load(tmp_path)), answer(model), atol=0, rtol=0)
    # What is frozen is not in the adapters' file, and the other way round.
    adapters = load_file(tmp_path / "adapters.safetensors")
    assert set(adapters) == {name for name, _ in model.trained()}
    assert not any("lora" in name for name in load_file(tmp_path / "decoder" / "model.safetensors"))


def test_frozen_folders_are_those_of_transformers(tmp_path, model):
    storage.save_frozen(model, tmp_path)
    load_encoder(tmp_path / "whisper")
    load_wavlm(tmp_path / "wavlm")
    WavLMModel.from_pretrained(tmp_path / "wavlm")
    llama = LlamaForCausalLM.from_pretrained(tmp_path / "decoder")
    wanted = model.decoder.llama.model.layers[3].mlp.up_proj.weight
    torch.testing.assert_close(llama.model.layers[3].mlp.up_proj.weight, wanted)


def test_frozen_parts_may_lie_elsewhere(tmp_path, model):
    storage.save_adapters(model, tmp_path / "adapters")
    storage.save_frozen(model, tmp_path / "frozen")
    with pytest.raises(ArtifactError, match="no such file or folder"):
        storage.load(tmp_path / "adapters")
    parts = {part: tmp_path / "frozen" / part for part in ("decoder", "whisper", "wavlm")}
    torch.testing.assert_close(answer(storage.load(tmp_path / "adapters", parts)), answer(model))


def test_adapters_know_what_they_were_trained_on(tmp_path, model):
    storage.save_adapters(model, tmp_path)
    storage.save_frozen(tiny(seed=7), tmp_path)
    with pytest.raises(ArtifactError, match="trained on another decoder"):
        storage.load(tmp_path)
    storage.save_frozen(model, tmp_path)
    # The type that frozen weights are kept in is none of their business.
    half = storage.load(tmp_path, decoder_type=torch.bfloat16)
    assert half.decoder.llama.lm_head.weight.dtype == torch.bfloat16
    assert half.decoder.llama.model.layers[0].self_attn.q_proj.lora_a.dtype == torch.float32
    torch.testing.assert_close(answer(half), answer(model), atol=0.05, rtol=0.05)


def test_stage_two_starts_from_stage_one(tmp_path):
    one, two = tiny(1), SpeechLlm(TINY, 2, empty=True)
    storage.save_adapters(one, tmp_path)
    storage.save_frozen(one, tmp_path)
    load_frozen(two, {part: tmp_path / part for part in ("decoder", "whisper", "wavlm")})
    before = two.prompt_adapter.fc_1.weight.clone()
    storage.load_adapters(two, tmp_path)
    torch.testing.assert_close(two.fusion.projection.weight, one.fusion.projection.weight)
    torch.testing.assert_close(two.prompt_adapter.fc_1.weight, before)
    torch.testing.assert_close(answer(two), answer(one))
    storage.save_adapters(two, tmp_path)
    with pytest.raises(ArtifactError, match="unknown to this model"):
        storage.load_adapters(one, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "no speech language model"),
        ({"stage": None}, "stage is missing"),
        ({"shape": {"decoder": {}}}, "sizes of a speech language model"),
        ({"shape": []}, "shape and frozen are no objects"),
        ({"frozen": []}, "shape and frozen are no objects"),
    ],
)
def test_wrong_facts(tmp_path, model, change, message):
    storage.save_adapters(model, tmp_path)
    file = tmp_path / "speech_llm.json"
    facts = json.loads(file.read_text()) | change
    file.write_text(json.dumps({name: value for name, value in facts.items() if value is not None}))
    with pytest.raises((ArtifactError, ConfigError), match=message):
        storage.load(tmp_path)


def test_all_frozen_parts_are_known(tmp_path, model):
    storage.save_adapters(model, tmp_path)
    facts = json.loads((tmp_path / "speech_llm.json").read_text())
    (tmp_path / "speech_llm.json").write_text(json.dumps(facts | {"frozen": {}}))
    with pytest.raises(ArtifactError, match="frozen parts are none, the model's decoder, whisper, wavlm"):
        storage.load_adapters(model, tmp_path)


def test_another_size_is_told_by_its_tensors(tmp_path, model):
    storage.save_frozen(model, tmp_path)
    (tmp_path / "decoder/config.json").unlink()
    shape = replace(TINY, decoder=replace(TINY.decoder, feed_forward=160))
    with pytest.raises(
        ArtifactError, match=r"12 tensors of another shape .*\(176, 64\), expected \(160, 64\)"
    ):
        load_frozen(SpeechLlm(shape, 1, empty=True), {"decoder": tmp_path / "decoder"})
