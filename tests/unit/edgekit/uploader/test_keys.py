import hashlib
import re
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from images import KEY

from edgekit.errors import ConfigError
from edgekit.toolchain import STRICT_FLAGS, find_host_compiler
from edgekit.uploader.keys import (
    DEVELOPMENT_KEY,
    generate,
    load_private,
    load_public,
    public_file,
    public_key_header,
)

EC = ec.generate_private_key(ec.SECP256R1())


class TestGenerate:
    def test_writes_a_pair_for_the_owner_alone(self, tmp_path):
        key = generate(tmp_path / "release.pem")
        private, public = tmp_path / "release.pem", tmp_path / "release.pub.pem"
        assert sorted(tmp_path.iterdir()) == [private, public]
        assert private.stat().st_mode & 0o777 == 0o600
        assert load_private(private).public.raw == load_public(public).raw == key.raw
        assert load_public(private).hash == key.hash
        assert not load_private(private).is_development

    def test_keys_differ(self, tmp_path):
        assert generate(tmp_path / "a.pem").raw != generate(tmp_path / "b.pem").raw

    @pytest.mark.parametrize("there", ["release.pem", "release.pub.pem"])
    def test_overwrites_nothing(self, tmp_path, there):
        (tmp_path / there).write_text("precious")
        with pytest.raises(ConfigError, match=f"{there}: is there already, and keys are not overwritten"):
            generate(tmp_path / "release.pem")
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(there, "precious")]

    def test_not_even_what_appears_meanwhile(self, tmp_path, monkeypatch):
        (tmp_path / "release.pem").write_text("precious")
        monkeypatch.setattr("pathlib.Path.exists", lambda _: False)
        with pytest.raises(ConfigError, match=r"cannot be written \(File exists\)"):
            generate(tmp_path / "release.pem")
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("release.pem", "precious")]

    def test_after_one_that_was_killed(self, tmp_path):
        (tmp_path / ".release.pem.partial").write_text("half")
        assert generate(tmp_path / "release.pem").raw == load_public(tmp_path / "release.pem").raw
        assert not (tmp_path / ".release.pem.partial").exists()

    def test_where_nothing_can_be_written(self, tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be written \(No such file"):
            generate(tmp_path / "no" / "release.pem")

    def test_public_file(self, tmp_path):
        assert public_file(tmp_path / "key").name == "key.pub.pem"


class TestLoad:
    def encode(self, encryption) -> bytes:
        return KEY.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    @pytest.mark.parametrize("load", [load_private, load_public])
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no .*key in PEM form"),
            (b"-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n", "no .*key in PEM form"),
            (b"\xff\xfe\x00", "no .*key in PEM form"),
            (EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "not an ed25519 key"),
        ],
    )
    def test_something_else(self, tmp_path, load, content, message):
        (tmp_path / "k.pem").write_bytes(content)
        with pytest.raises(ConfigError, match=message) as caught:
            load(tmp_path / "k.pem")
        assert "edgekit image keygen" in caught.value.hint

    def test_public_of_another_kind(self, tmp_path):
        (tmp_path / "k.pem").write_bytes(
            EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        with pytest.raises(ConfigError, match="not an ed25519 key"):
            load_public(tmp_path / "k.pem")

    def test_public_as_private(self, tmp_path):
        (tmp_path / "k.pem").write_bytes(KEY.public.pem)
        with pytest.raises(ConfigError, match="no private key"):
            load_private(tmp_path / "k.pem")

    @pytest.mark.parametrize("load", [load_private, load_public])
    def test_with_a_password(self, tmp_path, load):
        (tmp_path / "k.pem").write_bytes(self.encode(BestAvailableEncryption(b"secret")))
        with pytest.raises(ConfigError, match="has a password") as caught:
            load(tmp_path / "k.pem")
        assert "openssl pkey" in caught.value.hint

    @pytest.mark.parametrize("load", [load_private, load_public])
    def test_missing(self, tmp_path, load):
        with pytest.raises(ConfigError, match="No such file"):
            load(tmp_path / "no.pem")


def test_development_key_says_what_it_is():
    assert load_private(DEVELOPMENT_KEY).is_development
    assert DEVELOPMENT_KEY.read_text().startswith("INSECURE: the development key of edgekit.")


def test_hash_is_that_of_the_der(tmp_path):
    der = KEY.public.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (len(der), der[-32:]) == (44, KEY.public.raw)
    assert KEY.public.hash == hashlib.sha256(der).digest()


def test_header_compiles_to_the_key(tmp_path):
    text = public_key_header(KEY.public)
    for name, data in (("edgekit_public_key", KEY.public.raw), ("edgekit_key_hash", KEY.public.hash)):
        numbers = re.search(rf"{name}\[32\] = {{(.*)}};", text)[1].split(", ")
        assert bytes(int(number, 16) for number in numbers) == data
    (tmp_path / "edgekit_key.h").write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "edgekit_key.h"\nint main(void) { return edgekit_public_key[0] ^ edgekit_key_hash[0]; }\n'
    )
    command = [*find_host_compiler(), *STRICT_FLAGS, "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], check=False)
    assert done.returncode == KEY.public.raw[0] ^ KEY.public.hash[0]
