"""The commands in the user guide exist, with the options that it gives them."""

import re
import shlex
from pathlib import Path

import click
import pytest

from edgekit.cli.app import cli
from edgekit.cli.flashing import UPLOAD

ROOT = Path(__file__).parents[3]
GUIDES = sorted((ROOT / "docs").glob("*.md"))


def commands(text: str) -> list[str]:
    """Return the lines of code blocks that run edgekit."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("edgekit ")]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_command_is_one(guide):
    found = commands(guide.read_text(encoding="utf-8"))
    assert found
    for line in found:
        _, name, *words = shlex.split(line, comments=True)
        assert name in cli.commands, line
        command = cli.commands[name]
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            if name == "flash" and words[0] not in command.commands:
                words.insert(0, UPLOAD)
            name, *words = words
            assert name in command.commands, line
            command = command.commands[name]
        # An option that does not exist, or misses its value, is an error; nothing is run.
        command.make_context(name, words)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(guide):
    text = guide.read_text(encoding="utf-8")
    heads = {
        re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, head = link.partition("#")
        assert not path or path.startswith("https://") or (guide.parent / path).exists(), link
        assert path or head in heads, link
