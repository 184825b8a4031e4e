"""Other people's hosts update the agent, edgekit's host another server, and imgtool reads the same images.

The other hosts are packages of the `dev` extra. Where they are missing, these tests fail.
"""

import ast
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import mcumgr_toolkit
import nor_flash
import pytest
import smp_server
from agent_device import SECTOR
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from images import KEY, MODEL, OTHER_KEY, TOLD
from smp import error as smp_error
from smp import header as smp_header
from smpclient import SMPClient
from smpclient.generics import success
from smpclient.mcuboot import ImageInfo
from smpclient.requests.image_management import ImageErase, ImageStatesRead, ImageStatesWrite
from smpclient.requests.os_management import EchoWrite, MCUMgrParametersRead, ResetWrite
from smpclient.transport.serial import SMPSerialTransport

from edgekit.uploader.device import open_device
from edgekit.uploader.image import DeviceFacts, parse, sign, verify
from edgekit.uploader.install import install
from edgekit.uploader.preflight import check

from .conftest import NEW, OLD

IMGTOOL = Path(sys.executable).with_name("imgtool")
DIGEST = parse(NEW).digest
MODELS = 1
"""The image number of models."""


async def asked(client, request):
    """Return the answer to a request that must succeed; a key that the protocol does not have is an error."""
    answer = await client.request(request)
    assert success(answer), answer
    return answer


class TestSmpclient:
    """smpclient: asyncio, and strict readers of every answer."""

    def run(self, device, work):
        async def connected():
            client = SMPClient(SMPSerialTransport(), device.port)
            await client.connect()
            try:
                return await work(client)
            finally:
                await client.disconnect()

        return asyncio.run(asyncio.wait_for(connected(), 60))

    async def upload(self, client, image):
        async for offset in client.upload(image, slot=MODELS, subsequent_timeout_s=5):
            reached = offset
        return reached

    def test_lists(self, device):
        async def work(client):
            assert (await asked(client, EchoWrite(d="hello"))).r == "hello"
            assert (await asked(client, MCUMgrParametersRead())).buf_size == 1024
            return (await asked(client, ImageStatesRead())).images

        (image,) = self.run(device, work)
        assert (image.image, image.slot, image.version) == (1, 0, "1.0.0")
        assert (image.active, image.confirmed, image.pending) == (True, True, False)
        assert bytes(image.hash) == parse(OLD).digest

    def test_uploads_tests_and_confirms(self, device):
        async def work(client):
            reached = await self.upload(client, NEW)
            pending = (await asked(client, ImageStatesWrite(hash=DIGEST))).images
            await asked(client, ResetWrite())
            trial = (await asked(client, ImageStatesRead())).images
            kept = (await asked(client, ImageStatesWrite(hash=DIGEST, confirm=True))).images
            return reached, pending, trial, kept

        reached, pending, trial, kept = self.run(device, work)
        assert reached == len(NEW)
        assert [image.pending for image in pending] == [False, True]
        assert [(image.active, image.confirmed) for image in trial] == [(False, True), (True, False)]
        assert [(image.active, image.confirmed) for image in kept] == [(False, False), (True, True)]
        device.restart()
        assert device.holds(1, NEW)

    def test_erases(self, make_device):
        device = make_device(spare=NEW)
        self.run(device, lambda client: asked(client, ImageErase(slot=1)))
        assert device.slot(1, device.slot_bytes) == b"\xff" * device.slot_bytes

    def test_goes_on_where_an_upload_was_left(self, make_device):
        device, other = make_device(), make_device()

        async def leave(client):
            async for offset in client.upload(NEW, slot=MODELS):
                if offset > 20_000:
                    return

        self.run(device, leave)
        for each in (device, other):
            assert self.run(each, lambda client: self.upload(client, NEW)) == len(NEW)
        # As many writes as without a break, but for one of what was under way.
        assert 0 <= device.counts["operations"] - other.counts["operations"] <= 2
        assert device.holds(1, NEW)

    def test_understands_what_is_refused(self, device):
        async def work(client):
            return await client.request(ImageStatesWrite(hash=bytes(32)))

        refused = self.run(device, work)
        assert isinstance(refused, smp_error.ErrorV2)
        assert refused.header.group_id == smp_header.GroupId.IMAGE_MANAGEMENT
        assert (refused.err.group, refused.err.rc) == (1, 8)
        assert device.holds(0, OLD)

    def test_reads_the_image(self, tmp_path):
        file = tmp_path / "new.bin"
        file.write_bytes(NEW)
        info = ImageInfo.load_file(str(file))
        assert info.get_tlv(0x10).value == DIGEST


class TestMcumgrToolkit:
    """mcumgr-toolkit: Rust, with retries of its own."""

    def client(self, device):
        client = mcumgr_toolkit.MCUmgrClient.serial(device.port, 115_200, 5_000)
        client.use_auto_frame_size()
        return client

    def test_lists(self, device):
        client = self.client(device)
        assert client.os_echo("hello") == "hello"
        assert client.os_mcumgr_parameters().buf_size == 1024
        (image,) = client.image_get_state()
        assert (image.image, image.slot, image.version) == (1, 0, "1.0.0")
        assert (image.active, image.confirmed, image.pending) == (True, True, False)
        assert image.hash == parse(OLD).digest

    def test_uploads_tests_and_confirms(self, device):
        client = self.client(device)
        client.image_upload(NEW, image=MODELS)
        assert device.holds(1, NEW)
        pending = client.image_set_state(hash=DIGEST)
        assert [image.pending for image in pending] == [False, True]
        client.os_system_reset()
        trial = client.image_get_state()
        assert [(image.active, image.confirmed) for image in trial] == [(False, True), (True, False)]
        kept = client.image_set_state(hash=DIGEST, confirm=True)
        assert [(image.active, image.confirmed) for image in kept] == [(False, False), (True, True)]

    def test_erases(self, make_device):
        device = make_device(spare=NEW)
        self.client(device).image_erase(slot=1)
        assert device.slot(1, device.slot_bytes) == b"\xff" * device.slot_bytes

    def test_reads_edgekits_group(self, device):
        info = self.client(device).raw_command(False, 64, 0, {})
        assert (info["v"], info["slot"]) == (1, 18 * SECTOR)
        assert bytes(info["pub"]) == KEY.public.raw

    def test_is_refused(self, device):
        client = self.client(device)
        with pytest.raises(RuntimeError):
            client.image_set_state(hash=bytes(32))
        with pytest.raises(RuntimeError):
            client.image_upload(NEW, image=0)
        assert device.counts["erases"] == 0

    def test_reads_the_image(self):
        assert mcumgr_toolkit.mcuboot_get_image_info(NEW).hash == DIGEST


class TestIndependentServer:
    """edgekit's host against a server that knows nothing of it, nor of the agent."""

    def test_it_imports_neither_side(self):
        for module in (smp_server, nor_flash):
            tree = ast.parse(Path(module.__file__).read_text())
            imported = {
                alias.name.partition(".")[0]
                for node in ast.walk(tree)
                if isinstance(node, ast.Import | ast.ImportFrom)
                for alias in ([ast.alias(node.module)] if isinstance(node, ast.ImportFrom) else node.names)
            }
            assert imported <= {*sys.stdlib_module_names, "cbor2", "nor_flash"}

    def test_it_is_updated_as_the_agent_is(self, device, tmp_path):
        old, link = tmp_path / "old.bin", tmp_path / "server"
        old.write_bytes(OLD)
        told = {"link": str(link), "stats": str(tmp_path / "stats"), "info": TOLD, "installed": str(old)}
        (tmp_path / "server.json").write_text(json.dumps(told))
        server = subprocess.Popen([sys.executable, smp_server.__file__, tmp_path / "server.json"])
        try:
            until_s = time.monotonic() + 20
            while not link.exists():
                assert time.monotonic() < until_s
                time.sleep(0.01)
            outcomes = [self.update(port) for port in (str(link), device.port)]
        finally:
            server.terminate()
            assert server.wait(20) == 0
        assert outcomes[0] == outcomes[1]
        assert json.loads((tmp_path / "stats").read_text())["digests"][1] == DIGEST.hex()

    def update(self, port):
        new = parse(NEW)
        host = open_device(port)
        with host.session.link:
            outcome = install(host, new, lambda info: check(new, info))
            slots = [(slot.number, slot.digest, slot.active, slot.confirmed) for slot in host.slots()]
        return outcome.result, outcome.slot, outcome.sent_bytes, slots


class TestImgtool:
    """imgtool as a program, on images of ours, and its images here and on the device."""

    @pytest.fixture
    def keys(self, tmp_path):
        for name, key in (("key", KEY), ("other", OTHER_KEY)):
            pem = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (tmp_path / f"{name}.pem").write_bytes(pem)
        return tmp_path

    def imgtool(self, *words):
        return subprocess.run([IMGTOOL, *map(str, words)], capture_output=True, text=True, check=False)

    def test_it_verifies_what_the_device_runs(self, device, keys):
        data = sign(bytes(range(256)) * 20, MODEL, KEY)
        new = parse(data)
        host = open_device(device.port)
        with host.session.link:
            install(host, new, lambda info: check(new, info))
        (keys / "read.bin").write_bytes(device.slot(1, len(data)))
        done = self.imgtool("verify", "-k", keys / "key.pem", keys / "read.bin")
        assert done.returncode == 0, done.stderr
        assert new.digest.hex() in done.stdout.lower()
        assert self.imgtool("verify", "-k", keys / "other.pem", keys / "read.bin").returncode != 0

    def test_the_device_takes_what_it_signs(self, edgekit, device, keys):
        payload = bytes(range(256)) * 16
        (keys / "payload.bin").write_bytes(payload)
        model = parse(NEW)
        own = []
        for kind in (0xA0, 0xA1, 0xA2, 0xA3):
            value = next(entry.data for entry in model.container.protected if entry.type == kind)
            if kind == 0xA2:
                value = value[:4] + len(payload).to_bytes(4, "little") + value[8:]
            (keys / f"tlv{kind:x}").write_bytes(value)
            own += ["--custom-tlv-file", hex(kind), keys / f"tlv{kind:x}"]
        facts = MODEL
        done = self.imgtool(
            *("sign", "-k", keys / "key.pem", "-H", 32, "--pad-header", "-S", 65536, "--align", 8),
            *("-v", "2.0.0", "-s", facts.counter, "--non-bootable", "-d", "(0, 0.9.0+0)"),
            *("--vid", facts.vendor.hex, "--cid", facts.device_class.hex, *own),
            *(keys / "payload.bin", keys / "signed.bin"),
        )
        assert done.returncode == 0, done.stderr
        data = (keys / "signed.bin").read_bytes()
        image = verify(data, KEY.public, DeviceFacts(MODEL.vendor, MODEL.device_class, floor=MODEL.counter))
        assert image.payload == payload
        ran = edgekit("flash", keys / "signed.bin", "--port", device.port)
        assert ran.code == 0, ran.err
        assert device.holds(1, data)
