"""`edgekit image` on the command line: results, exit codes and messages."""

import json
import shutil
from dataclasses import replace

import pytest
from images import FIRMWARE, KEY, MODEL, OTHER_KEY, WEIGHTS, other_uuid
from unit.edgekit.commands import error

from edgekit import artifact
from edgekit.uploader.image import parse, sign, verify
from edgekit.uploader.keys import DEVELOPMENT_KEY, load_private

WARNING = (
    "warning: signed with edgekit's development key, which everybody has: "
    "devices that leave the lab need --key\n"
)


@pytest.fixture
def key(tmp_path):
    (tmp_path / "release.pub.pem").write_bytes(KEY.public.pem)
    return tmp_path / "release.pub.pem"


@pytest.fixture
def write(tmp_path):
    def write(payload=WEIGHTS, facts=MODEL, key=KEY, name="m.signed.bin"):
        (tmp_path / name).write_bytes(sign(payload, facts, key))
        return tmp_path / name

    return write


@pytest.fixture
def build(build_dir):
    """A build whose images are signed with the development key; its counter is 7."""
    development = load_private(DEVELOPMENT_KEY)
    with artifact.writing(build_dir / "firmware", "firmware", {}, {}) as work:
        (work / "model.signed.bin").write_bytes(sign(WEIGHTS, MODEL, development))
        (work / "firmware.signed.bin").write_bytes(sign(b"code", FIRMWARE, development))
    return build_dir


def test_group_lists_its_commands(edgekit):
    out = edgekit("image", "--help").out
    for name in ("keygen", "sign", "inspect", "verify"):
        assert f"\n  {name} " in out
        assert "--json" in edgekit("image", name, "--help").out


class TestKeygen:
    def test_makes_a_pair(self, edgekit, tmp_path):
        ran = edgekit("image", "keygen", tmp_path / "k.pem")
        assert ran.code == 0
        public = load_private(tmp_path / "k.pem").public
        assert ran.out.splitlines() == [
            f"{tmp_path / 'k.pem'}: private key; whoever has it can sign images",
            f"{tmp_path / 'k.pub.pem'}: public key {public.hash.hex()}",
        ]

    def test_as_json(self, edgekit, tmp_path):
        found = json.loads(edgekit("image", "keygen", tmp_path / "k.pem", "--json").out)
        assert found["key_hash"] == load_private(tmp_path / "k.pem").public.hash.hex()
        assert found["private"] == str(tmp_path / "k.pem")

    def test_overwrites_nothing(self, edgekit, tmp_path):
        edgekit("image", "keygen", tmp_path / "k.pem")
        before = (tmp_path / "k.pem").read_bytes()
        ran = edgekit("image", "keygen", tmp_path / "k.pem")
        assert ran.code == 2
        assert "keys are not overwritten" in error(ran)[0]
        assert (tmp_path / "k.pem").read_bytes() == before


class TestSign:
    @pytest.mark.parametrize(("kind", "payload"), [("model", WEIGHTS), ("firmware", b"code")])
    def test_of_a_build(self, edgekit, build, tmp_path, kind, payload):
        edgekit("image", "keygen", tmp_path / "k.pem")
        words = [
            "--key",
            tmp_path / "k.pem",
            "--counter",
            "8",
            "--image",
            kind,
            "--out",
            tmp_path / "out.bin",
        ]
        ran = edgekit("image", "sign", build, *words)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"{tmp_path / 'out.bin'}: {kind} image, ")
        image = verify((tmp_path / "out.bin").read_bytes(), load_private(tmp_path / "k.pem").public)
        assert (image.payload, image.facts.counter) == (payload, 8)

    def test_of_an_image(self, edgekit, write, tmp_path):
        ran = edgekit("image", "sign", write(), "--out", tmp_path / "out.bin", "--json")
        assert (ran.code, ran.err) == (0, WARNING)
        found = json.loads(ran.out)
        image = parse((tmp_path / "out.bin").read_bytes())
        assert image.facts == MODEL
        assert found["digest"] == image.digest.hex()
        assert found["key_hash"] == load_private(DEVELOPMENT_KEY).public.hash.hex()
        assert (found["image"], found["security_counter"], found["version"]) == ("model", 7, "1.2.3+4")

    def test_of_weights_alone(self, edgekit, tmp_path):
        (tmp_path / "model.bin").write_bytes(WEIGHTS)
        ran = edgekit("image", "sign", tmp_path / "model.bin", "--out", tmp_path / "out.bin")
        assert ran.code == 20
        assert "weights without header and signature" in error(ran)[0]
        assert not (tmp_path / "out.bin").exists()

    def test_of_a_build_without_images(self, edgekit, build_dir, tmp_path):
        ran = edgekit("image", "sign", build_dir, "--out", tmp_path / "out.bin")
        assert ran.code == 5
        assert "without model.signed.bin" in error(ran)[0]

    def test_of_a_damaged_build(self, edgekit, build, tmp_path):
        (build / "firmware" / "model.signed.bin").write_bytes(b"?")
        assert edgekit("image", "sign", build, "--out", tmp_path / "out.bin").code == 5

    def test_where_nothing_can_be_written(self, edgekit, write, tmp_path):
        ran = edgekit("image", "sign", write(), "--out", tmp_path / "no" / "out.bin")
        assert ran.code == 2
        assert "cannot be written" in ran.err


class TestInspect:
    def test_for_people(self, edgekit, write):
        file = write()
        lines = edgekit("image", "inspect", file).out.splitlines()
        assert lines[0] == f"{file}: model image, {file.stat().st_size} bytes"
        text = "\n".join(lines)
        for shown in (
            "0x000088  0x0050  SEC_CNT     7",
            "DEPENDENCY  image 0, version 0.9.0",
            "ABI         major 1, minor 2, kernels 305419896",
            "NEEDS       ram_bytes 17000, weights_bytes 100, align 4, outputs 3",
            f"UUID_CID    {MODEL.device_class}",
            f"GRAPH       {MODEL.graph.hex()}",
            f"KEYHASH     {KEY.public.hash.hex()}",
        ):
            assert shown in text

    def test_as_json(self, edgekit, write):
        found = json.loads(edgekit("image", "inspect", write(facts=FIRMWARE), "--json").out)
        assert found["filename"] == "m.signed.bin"
        assert found["header"]["version"] == "1.2.3+4"
        values = {entry["type_name"]: entry["value"] for entry in found["tlv_area"]["tlvs_prot"]}
        assert values["NEEDS"]["ram_bytes"] == 17_000
        assert "DEPENDENCY" not in values

    def test_of_something_else(self, edgekit, tmp_path):
        (tmp_path / "a.hex").write_text(":020000040000FA\n:00000001FF\n")
        ran = edgekit("image", "inspect", tmp_path / "a.hex")
        assert ran.code == 20
        assert error(ran) == (
            f"{tmp_path / 'a.hex'}: Intel HEX text, not a binary image",
            "give the .signed.bin instead",
        )

    def test_of_nothing(self, edgekit, tmp_path):
        assert edgekit("image", "inspect", tmp_path / "no.bin").code == 2


class TestVerify:
    def test_right(self, edgekit, write, key):
        ran = edgekit("image", "verify", write(), "--key", key)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines()[-1].split(maxsplit=1) == ["checked", "form, digest, key, signature"]

    def test_for_a_target(self, edgekit, write, key):
        ran = edgekit("image", "verify", write(), "--key", key, "--target", "hearing-aid", "--json")
        assert json.loads(ran.out)["checked"][-3:] == ["vendor", "class", "size"]

    @pytest.mark.parametrize(
        ("kind", "last"), [("model", "RAM, security counter"), ("firmware", "size, security counter")]
    )
    def test_for_a_build(self, edgekit, build, kind, last):
        file = build / "firmware" / f"{kind}.signed.bin"
        ran = edgekit("image", "verify", file, "--key", DEVELOPMENT_KEY, "--build", build)
        assert ran.code == 0, ran.err
        assert ran.out.endswith(f"{last}\n")

    @pytest.mark.parametrize(
        ("facts", "code"),
        [
            (replace(MODEL, device_class=other_uuid()), 22),
            (replace(MODEL, graph=bytes(32)), 23),
            (replace(MODEL, abi=replace(MODEL.abi, major=2)), 23),
            (replace(MODEL, firmware=MODEL.version._replace(minor=3)), 23),
            (replace(MODEL, needs=replace(MODEL.needs, ram_bytes=1 << 20)), 24),
            (replace(MODEL, counter=6), 25),
            (MODEL, 0),
            (replace(MODEL, counter=8), 0),
        ],
    )
    def test_exit_codes_against_a_build(self, edgekit, build, write, key, facts, code):
        ran = edgekit("image", "verify", write(facts=facts), "--key", key, "--build", build)
        assert ran.code == code, ran.err
        if code:
            error(ran)

    def test_exit_codes_of_signatures(self, edgekit, write, key):
        assert edgekit("image", "verify", write(key=OTHER_KEY), "--key", key).code == 21
        file = write()
        file.write_bytes(file.read_bytes()[:-1])
        assert edgekit("image", "verify", file, "--key", key).code == 20

    @pytest.mark.parametrize(("bytes_more", "code"), [(0, 0), (1, 24)])
    def test_size_against_a_target(self, edgekit, write, key, bytes_more, code):
        around = write().stat().st_size - len(WEIGHTS)
        file = write(WEIGHTS + bytes(262_144 - around - len(WEIGHTS) + bytes_more))
        assert edgekit("image", "verify", file, "--key", key, "--target", "hearing-aid").code == code

    @pytest.mark.parametrize(("bytes_more", "code"), [(0, 0), (1, 24)])
    def test_size_against_a_build(self, edgekit, build, write, key, bytes_more, code):
        around = write().stat().st_size - len(WEIGHTS)
        file = write(WEIGHTS + bytes(262_144 - around - len(WEIGHTS) + bytes_more))
        assert edgekit("image", "verify", file, "--key", key, "--build", build).code == code

    def test_for_another_target(self, edgekit, write, key):
        ran = edgekit("image", "verify", write(), "--key", key, "--target", "nrf5340")
        assert ran.code == 22
        assert "for another device" in error(ran)[0]

    def test_usage(self, edgekit, build, write, key):
        assert edgekit("image", "verify", write()).code == 2
        words = ["--key", key, "--build", build, "--target", "hearing-aid"]
        ran = edgekit("image", "verify", write(), *words)
        assert (ran.code, error(ran)[0]) == (2, "--build and --target exclude each other")
        assert edgekit("image", "verify", write(), "--key", key, "--build", build / "firmware").code == 5
        shutil.rmtree(build / "firmware")
        assert edgekit("image", "verify", write(), "--key", key, "--build", build).code == 5


class TestDevelopmentKey:
    def test_is_said_last_and_in_yellow(self, edgekit, write, tmp_path, monkeypatch):
        monkeypatch.delenv("NO_COLOR", raising=False)
        words = ["image", "sign", write(), "--out", tmp_path / "out.bin"]
        assert edgekit(*words).err == WARNING
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        assert edgekit(*words).err.startswith("\x1b[33m\x1b[1mwarning: ")
        monkeypatch.setenv("NO_COLOR", "1")
        assert edgekit(*words).err == WARNING
