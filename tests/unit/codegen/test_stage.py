"""The codegen stages on a small graph, causal and utterance."""

import json
from dataclasses import replace

import pytest
from images import OTHER_KEY
from support import needs_qemu, noise

from codegen import checks, images, stage
from codegen import emit as emitter
from codegen.golden import golden_vector
from edgekit import __version__, artifact
from edgekit.errors import ParityError, TargetError
from edgekit.graph import graph_digest, save_graph
from edgekit.targets import load_target
from edgekit.uploader.facts import Needs, class_uuid, vendor_uuid
from edgekit.uploader.image import verify
from edgekit.uploader.keys import DEVELOPMENT_KEY, load_private
from firmware_sim.stage import check_layers

TARGET = load_target("hearing-aid")
KEY = load_private(DEVELOPMENT_KEY)


@pytest.fixture
def graph_dir(graph, tmp_path):
    with artifact.writing(tmp_path / "graph", "quantize", {}, {}) as work:
        save_graph(graph, work)
    return tmp_path / "graph"


@pytest.fixture(autouse=True)
def little_audio(monkeypatch):
    # Two clips, each longer than the window of an utterance.
    monkeypatch.setattr(checks, "PARITY_AUDIO_S", 4.0)


def test_generate_writes_checked_c(graph_dir, tmp_path, level):
    made = stage.generate(graph_dir, TARGET, tmp_path / "c")
    assert {"edgekit_engine.c", "edgekit_model.c", "edgekit_model.h", "Makefile", "model.bin"} <= set(
        made.manifest.files
    )
    rows = json.loads(made.file("parity.json").read_text())["layers"]
    assert {row["backend"] for row in rows} == {"c-host"}
    assert all(row["mismatches"] == 0 and row["elements"] > 0 for row in rows)
    assert (made.manifest.inputs, made.manifest.params) == stage.generate_identity(
        artifact.read(graph_dir, "quantize").digest, TARGET
    )


def test_images_say_what_the_build_is(graph, graph_dir, tmp_path, level):
    made = stage.generate(graph_dir, TARGET, tmp_path / "c")
    firmware = stage.build_firmware(made.path, graph_dir, TARGET, KEY, tmp_path / "firmware")
    found = {}
    for kind in ("firmware", "model"):
        image = verify(firmware.file(f"{kind}.signed.bin").read_bytes(), KEY.public)
        payload = firmware.file(f"{kind}.bin").read_bytes()
        assert image.payload == payload + (golden_vector(graph) if kind == "model" else b"")
        found[kind] = image.facts
    model = found["model"]
    assert found["firmware"] == replace(model, kind="firmware", firmware=None)
    assert model.graph.hex() == graph_digest(graph)
    assert model.provenance.hex() == artifact.sha256_file(made.path / "manifest.json")
    state = json.loads(made.file("memory.json").read_text())["state_bytes_by_layer"]
    weights_bytes = made.file("model.bin").stat().st_size
    assert model.needs == Needs(sum(state.values()), weights_bytes, 4, 3)
    assert str(model.version) == str(model.firmware) == __version__
    assert (model.vendor, model.device_class) == (vendor_uuid(), class_uuid("hearing-aid"))
    assert firmware.manifest.params["images"] == {"key": KEY.public.hash.hex(), "counter": 0, "abi": "1.0"}


def test_another_key_is_another_firmware():
    identities = [stage.firmware_identity("c", "graph", TARGET, key) for key in (KEY, OTHER_KEY)]
    assert identities[0] != identities[1]


def test_arenas_are_the_ram_of_networks_that_run_whole(tmp_path):
    artifact.write_json(
        tmp_path / "memory.json", {"state_bytes_by_layer": {"a": 9}, "arena": {"size_bytes": 7}}
    )
    assert images.ram_bytes(tmp_path / "memory.json") == 7


@needs_qemu
def test_cortex_m55_firmware_equals_the_graph_on_every_layer(graph, graph_dir, tmp_path, level):
    m55 = load_target("corstone-300")
    made = stage.generate(graph_dir, m55, tmp_path / "c")
    assert {"ek_conv2d_mve_s8.c", "ek_fully_connected_mve_s4.c"} <= set(made.manifest.files)
    firmware = stage.build_firmware(made.path, graph_dir, m55, KEY, tmp_path / "firmware")
    checked = check_layers(firmware.file("firmware_traced.elf"), m55, graph, [noise(0.3)])
    assert {row.layer for row in checked.rows} >= {"l1", "l2", "pool", "lin", "spectrum"}
    assert checked.device.tolist() == checked.graph.tolist()


def test_program_for_this_computer_equals_the_graph_on_every_layer(graph, graph_dir, tmp_path, level):
    host = load_target("host")
    made = stage.generate(graph_dir, host, tmp_path / "c")
    firmware = stage.build_firmware(made.path, graph_dir, host, KEY, tmp_path / "firmware")
    assert set(firmware.manifest.files) == {
        "firmware.elf",
        "firmware_traced.elf",
        "model.bin",
        "model.signed.bin",
        "updates.json",
    }
    checked = check_layers(firmware.file("firmware_traced.elf"), host, graph, [noise(0.3)])
    assert {row.backend for row in checked.rows} == {"native-program"}
    assert {row.layer for row in checked.rows} >= {"l1", "l2", "pool", "lin", "spectrum"}
    assert checked.device.tolist() == checked.graph.tolist()


def test_every_generated_file_opens_with_the_command(graph_dir, tmp_path):
    made = stage.generate(graph_dir, TARGET, tmp_path / "c")
    written = [made.file(name) for name in made.manifest.files if not name.startswith("ek_")]
    texts = [path.read_text() for path in written if path.suffix in (".c", ".h", ".txt", "")]
    assert len(texts) >= 9
    for text in texts:
        assert "edgekit codegen GRAPH --target hearing-aid. Do not edit." in text.splitlines()[0]
        assert text.splitlines()[1].split()[1] == "Graph"


def test_same_graph_same_artifacts(graph_dir, tmp_path):
    digests = set()
    for name in ("a", "b"):
        made = stage.generate(graph_dir, TARGET, tmp_path / name)
        firmware = stage.build_firmware(made.path, graph_dir, TARGET, KEY, tmp_path / f"{name}-firmware")
        digests.add((made.digest, firmware.digest))
    assert len(digests) == 1


def test_c_that_differs_is_refused_and_not_kept(graph_dir, tmp_path, monkeypatch):
    real = emitter.emit_sources

    def wrong(*arguments):
        files = real(*arguments)
        name = "ek_running_average.c"
        return files | {name: files[name].replace("EK_ALPHA_BITS - 1", "EK_ALPHA_BITS - 2")}

    monkeypatch.setattr(emitter, "emit_sources", wrong)
    with pytest.raises(ParityError, match="c-host differs from the integer graph at layer") as caught:
        stage.generate(graph_dir, TARGET, tmp_path / "c")
    assert caught.value.exit_code == 8
    assert not (tmp_path / "c").exists()


def test_another_sample_rate_is_refused(graph_dir, tmp_path):
    target = replace(TARGET, audio=replace(TARGET.audio, sample_rate_hz=24_000))
    with pytest.raises(TargetError, match="audio at 24000 Hz, the model hears 16000 Hz"):
        stage.generate(graph_dir, target, tmp_path / "c")


def test_an_utterance_is_checked_up_to_its_window(graph, level):
    assert checks.longest_samples(graph) == (None if level == "causal" else 64 + 999 * 32)
