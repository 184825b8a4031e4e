"""The notice of a teacher's licence."""

import json

import pytest

from edgekit.cli import main
from edgekit.cli.licences import announce

NOTICE = (
    "teacher dawn: licence CC-BY-NC-SA-4.0; its labels, too, are for non-commercial use only; "
    "from audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim\n"
)


def shown(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_is_shown_once_for_each_teacher(capsys, state_folder):
    announce("dawn")
    assert shown(capsys) == NOTICE
    announce("dawn")
    announce("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim")
    assert shown(capsys) == ""
    announce("msp-wavlm")
    assert shown(capsys) == (
        "teacher msp-wavlm: licence MIT; from 3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes\n"
    )
    announce("msp-fused")
    assert shown(capsys).startswith("teacher msp-fused: licence CC-BY-NC-SA-4.0; its labels, too,")
    assert [file.name for file in (state_folder / "edgekit").iterdir()] == ["licences-shown.txt"]


def test_another_licence_of_the_same_folder_is_shown(capsys, tmp_path):
    def write(licence: str) -> str:
        facts = {"kind": "whisper", "name": "mine", "licence": licence, "shape": {}}
        (tmp_path / "teacher.json").write_text(json.dumps(facts))
        return str(tmp_path)

    announce(write("CC-BY-4.0"))
    assert shown(capsys) == f"teacher mine: licence CC-BY-4.0; from {tmp_path}\n"
    announce(write("research only"))
    assert "research only" in shown(capsys)
    announce(write("CC-BY-4.0"))
    assert shown(capsys) == ""


def test_of_the_teacher_that_ships(capsys):
    announce("compact")
    assert shown(capsys) == (
        "teacher compact: licence Apache-2.0 and MIT; from edgekit, from parts of openai/whisper-base\n"
    )


def test_nothing_to_say_under_the_licence_of_edgekit_itself(capsys, state_folder, tmp_path):
    facts = {"kind": "whisper", "name": "mine", "licence": "Apache-2.0", "shape": {}}
    (tmp_path / "teacher.json").write_text(json.dumps(facts))
    announce(str(tmp_path))
    assert shown(capsys) == ""
    assert not state_folder.exists()


@pytest.mark.parametrize("name", ["no-such-teacher", "/no/such/folder"])
def test_nothing_to_say(capsys, state_folder, name):
    announce(name)
    assert shown(capsys) == ""
    assert not state_folder.exists()


def test_without_a_place_to_note_it_is_shown_every_time(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        announce("dawn")
        assert shown(capsys) == NOTICE


def test_damaged_notes_do_not_hide_a_licence(capsys, state_folder):
    (state_folder / "edgekit").mkdir(parents=True)
    (state_folder / "edgekit" / "licences-shown.txt").write_bytes(b"\xff\xfe")
    announce("dawn")
    assert shown(capsys) == NOTICE


@pytest.mark.parametrize("given", ["", "relative/state"])
def test_the_default_place_is_in_the_home_folder(capsys, monkeypatch, tmp_path, given):
    monkeypatch.setenv("XDG_STATE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    announce("dawn")
    assert shown(capsys) == NOTICE
    assert (tmp_path / ".local/state/edgekit/licences-shown.txt").read_text() == NOTICE


def test_a_build_shows_it_before_it_starts(capsys, monkeypatch, tmp_path):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.pipeline.build", stop)
    main(["build", "--target", "hearing-aid", "--teacher", "dawn", "--out", str(tmp_path / "out")])
    assert shown(capsys).startswith(NOTICE)
