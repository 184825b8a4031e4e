"""`edgekit image`: keys, signing, and what an image is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import options
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from edgekit.uploader.facts import Kind
    from edgekit.uploader.image import DeviceFacts, Image
    from edgekit.uploader.keys import PrivateKey

key_option = click.option(
    "--key",
    type=options.PATH,
    metavar="FILE",
    help="Private key that signs the images.  [default: the development key; insecure]",
)


@click.group()
def image() -> None:
    """Sign update images, take them apart and check them.

    Every command prints its result as JSON with --json.
    """


@image.command()
@click.argument("file", type=options.PATH)
@options.json_option
def keygen(file: Path, as_json: bool) -> None:
    """Make a key that signs images.

    FILE becomes the private key: keep it. The public one is written beside it as *.pub.pem.
    """
    from edgekit.uploader.keys import generate, public_file

    key = generate(file)
    public = public_file(file)
    if as_json:
        options.print_json({"private": str(file), "public": str(public), "key_hash": key.hash.hex()})
        return
    click.echo(f"{file}: private key; whoever has it can sign images")
    click.echo(f"{public}: public key {key.hash.hex()}")


@image.command()
@click.argument("source", type=options.PATH, metavar="BUILD_DIR|IMAGE")
@key_option
@click.option(
    "--image",
    "kind",
    type=click.Choice(["model", "firmware"]),
    default="model",
    show_default=True,
    help="Which image of BUILD_DIR.",
)
@click.option(
    "--counter", type=click.IntRange(0, (1 << 32) - 1), help="New security counter.  [default: as it is]"
)
@click.option("--out", type=options.PATH, required=True, metavar="FILE", help="Image to write.")
@options.json_option
def sign(source: Path, key: Path | None, kind: "Kind", counter: int | None, out: Path, as_json: bool) -> None:
    """Sign an image with another key, or with another security counter.

    Devices refuse images whose counter is below that of the last one that they confirmed. What the image says
    about itself stays otherwise. Without --key, the development key signs.
    """
    from edgekit import artifact
    from edgekit.uploader.container import read_image
    from edgekit.uploader.image import parse, sign_again
    from edgekit.uploader.keys import DEVELOPMENT_KEY, load_private

    file = image_of(source, kind)
    private = load_private(key or DEVELOPMENT_KEY)
    data = sign_again(parse(read_image(file), str(file)), private, counter)
    try:
        artifact.write_bytes(out, data)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})", "choose another --out") from error
    made = parse(data, str(out))
    _print_image(made, {}, as_json)
    warn_of_development_key(private)


@image.command()
@click.argument("file", type=options.PATH)
@options.json_option
def inspect(file: Path, as_json: bool) -> None:
    """Take an image apart; nothing but its form is checked.

    The JSON is that of imgtool dumpinfo, with the value of every field.
    """
    from edgekit.uploader.container import parse_container, read_image
    from edgekit.uploader.dump import describe, describe_text

    container = parse_container(read_image(file), str(file))
    if as_json:
        options.print_json({**describe(container), "filename": file.name})
        return
    for line in describe_text(container):
        click.echo(line)


@image.command()
@click.argument("file", type=options.PATH)
@click.option(
    "--key",
    type=options.PATH,
    required=True,
    metavar="FILE",
    help="Key that must have signed it, public or private.",
)
@click.option("--build", type=options.PATH, metavar="DIR", help="Build that runs on the device.")
@click.option("--target", metavar="NAME|FILE", help="Device that it is for, where no build is at hand.")
@options.json_option
def verify(file: Path, key: Path, build: Path | None, target: str | None, as_json: bool) -> None:
    """Check an image as a device does.

    That is form, digest, key and signature; with --target also vendor, class and size; with --build also
    graph, ABI, RAM, and that the security counter is not below that of the build's image.
    """
    from edgekit.uploader.container import read_image
    from edgekit.uploader.image import check_device, check_signature, parse
    from edgekit.uploader.keys import load_public

    if build and target:
        raise click.UsageError("--build and --target exclude each other")
    public = load_public(key)
    found = parse(read_image(file), str(file))
    check_signature(found, public)
    checked = ["form", "digest", "key", "signature"]
    if build or target:
        check_device(found, _of_build(build, found.facts.kind) if build else _of_target(str(target)))
        checked += ["vendor", "class", "size"]
    if build:
        checked += (
            ["graph", "ABI", "RAM", "security counter"]
            if found.facts.kind == "model"
            else ["security counter"]
        )
    _print_image(found, {"checked": checked}, as_json)


def image_of(source: Path, kind: "Kind") -> Path:
    """Return an image: that of a build directory, whose checksums must be right, or the file itself."""
    from edgekit import artifact
    from edgekit.report import STAGES

    if not source.is_dir():
        return source
    return artifact.read(source / STAGES["firmware"], "firmware").file(f"{kind}.signed.bin")


def _of_target(target: str) -> "DeviceFacts":
    from edgekit.targets import load_target
    from edgekit.uploader.facts import class_uuid, vendor_uuid
    from edgekit.uploader.image import DeviceFacts

    device = load_target(target)
    return DeviceFacts(vendor_uuid(), class_uuid(device.name), slot_bytes=device.memory.flash_bytes)


def _of_build(build: Path, kind: "Kind") -> "DeviceFacts":
    """Return the facts of a device that runs a build's images."""
    from edgekit.pipeline import built_target
    from edgekit.uploader.container import read_image
    from edgekit.uploader.image import DeviceFacts, parse

    target = built_target(build)
    files = {"firmware": image_of(build, "firmware"), "installed": image_of(build, kind)}
    facts = {name: parse(read_image(file), str(file)).facts for name, file in files.items()}
    firmware = facts["firmware"]
    return DeviceFacts(
        firmware.vendor,
        firmware.device_class,
        target.memory.flash_bytes,
        firmware.abi,
        firmware.graph,
        firmware.needs.ram_bytes,
        facts["installed"].counter,
        firmware.version,
    )


def _print_image(found: "Image", more: dict[str, list[str]], as_json: bool) -> None:
    facts = found.facts
    shown = {
        "file": found.name,
        "image": facts.kind,
        "bytes": len(found.data),
        "version": str(facts.version),
        "security_counter": facts.counter,
        "digest": found.digest.hex(),
        "key_hash": found.key_hash.hex(),
    }
    if as_json:
        options.print_json({**shown, **more})
        return
    click.echo(f"{found.name}: {facts.kind} image, {len(found.data):,} bytes")
    click.echo(f"  version           {facts.version}")
    click.echo(f"  security counter  {facts.counter}")
    click.echo(f"  digest            {found.digest.hex()}")
    click.echo(f"  signed with       {found.key_hash.hex()}")
    for name, words in more.items():
        click.echo(f"  {name:<16}  {', '.join(words)}")


def warn_of_development_key(key: "PrivateKey") -> None:
    """Say on standard error that images are signed with the key that everybody has, if they are."""
    if not key.is_development:
        return
    what = "signed with edgekit's development key, which everybody has: devices that leave the lab need --key"
    click.echo(click.style(f"warning: {what}", fg="yellow", bold=True), err=True, color=options.color())
