"""What the agent takes on a device."""

from codegen.update_agent import AGENT, agent_sources, code_bytes, crypto_sources


def test_the_agent_without_cryptography_takes_at_most_8_kb():
    sizes = code_bytes(agent_sources())
    assert 4000 < sum(sizes.values()) <= 8192, sizes


def test_cryptography_takes_at_most_6_kb():
    sizes = code_bytes(crypto_sources())
    assert 3000 < sum(sizes.values()) <= 6144, sizes


def test_no_file_has_variables():
    for source in [*agent_sources(), *crypto_sources()]:
        text = source.read_text()
        assert "malloc" not in text
        assert not [
            line
            for line in text.splitlines()
            if line.startswith("static") and line.endswith(";") and "const" not in line and "(" not in line
        ]
        assert len(text.splitlines()) < 500
    assert len(list(AGENT.glob("ag_*.c"))) == len(agent_sources()) + len(crypto_sources())
