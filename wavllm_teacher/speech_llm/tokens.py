"""Text to token numbers and back: LLaMA's own tokenizer from its file, or plain bytes."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekit import artifact
from edgekit.errors import ArtifactError
from wavllm_teacher import hub

TOKENIZER_FILE = "tokenizer.json"
BEGIN, END = "<s>", "</s>"
BYTES = {"kind": "bytes"}
"""What `tokenizer.json` holds where tokens are bytes."""
UNFINISHED = "�"
"""What decoders write for bytes that are no character, or not yet."""


class Tokenizer(Protocol):
    """What turns text into token numbers and back."""

    begin: int
    """Stands before every sequence."""
    end: int
    """Ends every answer."""
    size: int
    """Number of tokens."""

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without begin and end."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; begin and end are no text."""
        ...


class ByteTokenizer:
    """One token for each byte of UTF-8, and two more.

    Example:
        >>> tokens = ByteTokenizer()
        >>> tokens.encode("Hé"), tokens.decode([72, 195, 169, tokens.end])
        ([72, 195, 169], 'Hé')
    """

    begin = 256
    end = 257
    size = 258

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of some bytes."""
        return bytes(token for token in tokens if token < self.begin).decode(errors="replace")

    def to_json(self) -> str:
        """Return what `tokenizer.json` holds of it."""
        return json.dumps(BYTES) + "\n"


class FileTokenizer:
    """A tokenizer as Hugging Face lays it out, `tokenizer.json`.

    Args:
        file: The file; it must have the tokens <s> and </s>, as LLaMA's has.

    Raises:
        ArtifactError: If it is missing or damaged, or lacks one of the two.
    """

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer as Loaded

        if not file.is_file():
            raise ArtifactError(f"{file}: no tokenizer here", hub.REPAIR)
        try:
            self._tokenizer: Any = Loaded.from_file(str(file))
        # The library raises plain Exception.
        except Exception as error:
            raise ArtifactError(f"{file}: damaged ({error})", hub.REPAIR) from error
        # What a prompt quotes is text, "</s>" too: it must not end anything.
        self._tokenizer.encode_special_tokens = True
        self.begin, self.end = (self._number(file, name) for name in (BEGIN, END))
        self.size: int = self._tokenizer.get_vocab_size()

    def _number(self, file: Path, name: str) -> int:
        number: int | None = self._tokenizer.token_to_id(name)
        if number is None:
            raise ArtifactError(f"{file}: has no token {name}", "name the tokenizer.json of a LLaMA model")
        return number

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without begin and end."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; begin and end are no text."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def to_json(self) -> str:
        """Return what `tokenizer.json` holds of it."""
        text: str = self._tokenizer.to_str(pretty=True)
        return text


def save_tokenizer(tokenizer: ByteTokenizer | FileTokenizer, folder: Path) -> None:
    """Write `tokenizer.json`, from which `load_tokenizer` makes the same tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    artifact.write_text(folder / TOKENIZER_FILE, tokenizer.to_json())


def load_tokenizer(file: Path) -> Tokenizer:
    """Return the tokenizer of a file: ours for bytes, or one as Hugging Face lays it out.

    Raises:
        ArtifactError: If it is missing or damaged, or lacks the tokens <s> and </s>.
    """
    if file.is_file() and hub.read_json(file) == BYTES:
        return ByteTokenizer()
    return FileTokenizer(file)


def stream_text(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """Yield the text of tokens as they come; what is yielded, joined, is the text of all.

    A character that needs more tokens waits for them. All tokens are decoded each time, because the text of
    a token can depend on those before it.

    Example:
        >>> list(stream_text(ByteTokenizer(), [72, 195, 169]))
        ['H', 'é']
    """
    seen: list[int] = []
    said = ""
    for token in tokens:
        seen.append(token)
        text = tokenizer.decode(seen).rstrip(UNFINISHED)
        if len(text) > len(said) and text.startswith(said):
            yield text[len(said) :]
            said = text
    rest = tokenizer.decode(seen)
    if len(rest) > len(said):
        yield rest[len(said) :]
