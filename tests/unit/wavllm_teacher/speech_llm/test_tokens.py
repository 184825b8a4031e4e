"""Tokens: bytes, tokenizer files, and text that comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from edgekit.errors import ArtifactError, ConfigError
from wavllm_teacher.speech_llm.prompts import Request, tokenise
from wavllm_teacher.speech_llm.tokens import (
    ByteTokenizer,
    FileTokenizer,
    load_tokenizer,
    save_tokenizer,
    stream_text,
)


def write_tokenizer(folder, special=("<s>", "</s>")):
    words = ["[INST]", "hello", "▁hello", "wor", "ld", "▁", "<unk>"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *words])}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


@given(st.text())
def test_bytes_give_the_text_back(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.integers(0, 257), max_size=40))
def test_pieces_are_the_whole(tokens):
    tokenizer = ByteTokenizer()
    assert "".join(stream_text(tokenizer, tokens)) == tokenizer.decode(tokens)


@given(st.text())
def test_no_piece_is_half_a_character(text):
    tokenizer = ByteTokenizer()
    pieces = list(stream_text(tokenizer, tokenizer.encode(text)))
    assert len(pieces) == len(text)


def test_a_file(tmp_path):
    tokenizer = FileTokenizer(write_tokenizer(tmp_path))
    assert (tokenizer.begin, tokenizer.end, tokenizer.size) == (0, 1, 9)
    tokens = tokenizer.encode("hello hello")
    assert tokenizer.decode([*tokens, tokenizer.end]) == "hello hello"


def test_what_is_saved_is_loaded(tmp_path):
    tokenizer = FileTokenizer(write_tokenizer(tmp_path))
    save_tokenizer(tokenizer, tmp_path / "words")
    loaded = load_tokenizer(tmp_path / "words/tokenizer.json")
    assert loaded.encode("hello world") == tokenizer.encode("hello world")
    assert isinstance(loaded, FileTokenizer)
    save_tokenizer(ByteTokenizer(), tmp_path / "bytes")
    assert isinstance(load_tokenizer(tmp_path / "bytes/tokenizer.json"), ByteTokenizer)


def test_what_is_written_as_a_special_token_is_text(tmp_path):
    tokens = FileTokenizer(write_tokenizer(tmp_path))
    assert not {tokens.begin, tokens.end} & set(tokens.encode("<s> the </s>"))


def test_a_file_without_an_end(tmp_path):
    with pytest.raises(ArtifactError, match="no token </s>"):
        FileTokenizer(write_tokenizer(tmp_path, special=("<s>",)))


def test_damaged_files(tmp_path):
    file = tmp_path / "tokenizer.json"
    with pytest.raises(ArtifactError, match="no tokenizer here"):
        load_tokenizer(file)
    for damaged in ("{", "{}"):
        file.write_text(damaged)
        with pytest.raises(ArtifactError, match="damaged"):
            load_tokenizer(file)
    with pytest.raises(ArtifactError, match="damaged"):
        FileTokenizer(file)


def test_prompts_begin_once_and_quote_the_question():
    tokenizer = ByteTokenizer()
    prompt = tokenise(Request("Why?", system="S"), tokenizer)
    assert prompt.before[0] == tokenizer.begin
    assert tokenizer.begin not in (*prompt.before[1:], *prompt.after, *prompt.question)
    assert tokenizer.decode((*prompt.before, *prompt.after)) == "[INST]<<SYS>>\nS\n<</SYS>>\n\nWhy? [/INST]"
    assert tokenizer.decode(prompt.question) == '"Why?"'


@pytest.mark.parametrize(("prompt", "system"), [("W\udce9?", "Listen."), ("Who?", "L\ud800")])
def test_requests_are_valid_text(prompt, system):
    with pytest.raises(ConfigError, match="is not valid UTF-8"):
        Request(prompt, system=system)
