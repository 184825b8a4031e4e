import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from builds import profile
from rich.console import Console
from rich.progress import Progress as Bars
from unit.edgekit.commands import error

from edgekit import pipeline
from edgekit.cli.app import cli, main
from edgekit.cli.progress import LiveProgress, PlainProgress
from edgekit.errors import ArtifactError

NOTICE = "teacher compact: licence Apache-2.0 and MIT; from edgekit, from parts of openai/whisper-base"
COMMANDS = [
    *("build", "label", "distill", "quantize", "codegen", "simulate", "report", "image", "flash", "monitor"),
    "device",
    *("teach", "evaluate", "ask", "tune", "targets", "teachers", "students", "ops", "ports", "doctor"),
]


class TestHelp:
    def test_lists_exactly_the_commands_that_work(self, edgekit):
        ran = edgekit("--help")
        assert ran.code == 0
        assert re.findall(r"^  (\w+) ", ran.out.split("Commands:")[1], re.MULTILINE) == COMMANDS

    @pytest.mark.parametrize("command", COMMANDS)
    def test_of_every_command(self, edgekit, command):
        ran = edgekit(command, "--help")
        assert ran.code == 0
        assert f"Usage: edgekit {command}" in ran.out
        assert "--json" in ran.out

    @pytest.mark.parametrize("name", COMMANDS)
    def test_short_help_is_whole(self, name):
        assert not cli.commands[name].get_short_help_str(limit=62).endswith("...")

    def test_without_words(self, edgekit):
        ran = edgekit()
        assert (ran.code, ran.out) == (2, "")
        assert "Commands:" in ran.err

    def test_version(self, edgekit):
        assert edgekit("--version").out == "edgekit, version 0.3.0\n"

    def test_imports_nothing_heavy(self):
        code = "import sys; from edgekit.cli import main; main(['--help']); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
        assert "edgekit" in loaded
        heavy = {"torch", "transformers", "onnx", "onnxruntime", "pyarrow", "scipy", "numpy"}
        assert not loaded & (heavy | {"serial", "cbor2"})


class TestErrors:
    @pytest.mark.parametrize(
        ("words", "message", "hint"),
        [
            (["biuld"], "No such command 'biuld'. Did you mean 'build'?", "run edgekit --help"),
            (["build"], "Missing option '--target'", "run edgekit build --help"),
            (
                ["build", "--target", "x", "--weights", "int3"],
                "Invalid value for '--weights': 'int3' is not one of 'mixed4', 'int8'",
                "run edgekit build --help",
            ),
            (
                ["targets", "--jsn"],
                "No such option '--jsn'. Did you mean '--json'?",
                "run edgekit targets --help",
            ),
        ],
    )
    def test_usage(self, edgekit, words, message, hint):
        ran = edgekit(*words)
        assert ran.code == 2
        assert error(ran) == (message, hint)

    def test_unknown_target(self, edgekit, tmp_path):
        ran = edgekit("build", "--target", "hearing-ad", "--out", tmp_path / "out")
        assert ran.code == 3
        assert "did you mean 'hearing-aid'?" in error(ran)[0]
        assert not (tmp_path / "out").exists()

    def test_no_audio_found(self, edgekit, tmp_path):
        (tmp_path / "empty").mkdir()
        words = "--audio", tmp_path / "empty", "--out", tmp_path / "out"
        ran = edgekit("build", "--target", "hearing-aid", *words)
        assert ran.code == 7
        assert error(ran)[0] == f"no audio found in {(tmp_path / 'empty').resolve()}"

    def test_unknown_teacher(self, edgekit, tmp_path):
        words = "--teacher", "compct", "--out", tmp_path / "out"
        ran = edgekit("build", "--target", "hearing-aid", *words)
        assert ran.code == 2
        assert "compct" in error(ran)[0]

    def test_unknown_student(self, edgekit, tmp_path):
        words = "--student", "wav2smal", "--out", tmp_path / "out"
        ran = edgekit("build", "--target", "hearing-aid", *words)
        assert ran.code == 2
        assert "did you mean 'wav2small'?" in error(ran)[0]

    def test_color_follows_no_color(self, edgekit, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert "\x1b" not in edgekit("biuld").err

    def test_a_bug_keeps_its_traceback(self, monkeypatch):
        def broken() -> list[str]:
            raise ZeroDivisionError

        monkeypatch.setattr("edgekit.targets.list_targets", broken)
        with pytest.raises(ZeroDivisionError):
            main(["targets"])

    @pytest.mark.parametrize(
        ("number", "message"),
        [(errno.ENOSPC, "a.bin: the disk is full"), (errno.EROFS, "a.bin: Read-only file system")],
    )
    def test_of_the_disk(self, edgekit, monkeypatch, number, message):
        def fail() -> list[str]:
            raise OSError(number, os.strerror(number), "a.bin")

        monkeypatch.setattr("edgekit.targets.list_targets", fail)
        ran = edgekit("targets")
        assert ran.code == 2
        assert error(ran)[0] == message

    def test_of_the_system_that_are_bugs(self, monkeypatch):
        def fail() -> list[str]:
            raise OSError(errno.EBADF, "Bad file descriptor")

        monkeypatch.setattr("edgekit.targets.list_targets", fail)
        with pytest.raises(OSError, match="Bad file descriptor"):
            main(["targets"])


class TestInterrupted:
    def test_by_ctrl_c(self, edgekit, monkeypatch):
        def interrupt() -> list[str]:
            raise KeyboardInterrupt

        monkeypatch.setattr("edgekit.targets.list_targets", interrupt)
        ran = edgekit("targets")
        assert (ran.code, ran.out) == (130, "")
        assert ran.err.strip() == "interrupted; run the same command again: what was finished is kept"

    def test_by_sigterm(self, edgekit, monkeypatch):
        def terminate() -> list[str]:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
            return []

        before = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr("edgekit.targets.list_targets", terminate)
        assert edgekit("targets").code == 130
        assert signal.getsignal(signal.SIGTERM) == before

    def test_by_a_reader_that_leaves(self):
        """What `edgekit targets show hearing-aid | head -0` does: no traceback, no complaint."""
        reading, writing = os.pipe()
        os.close(reading)
        words = [sys.executable, "-m", "edgekit.cli", "targets", "show", "hearing-aid"]
        done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (1, "")


class TestBuild:
    @pytest.fixture
    def words(self, tmp_path, stand_in_stages) -> list[object]:
        return ["build", "--target", "hearing-aid", "--out", tmp_path / "out"]

    def test_shows_progress_then_the_report(self, edgekit, words):
        ran = edgekit(*words)
        assert ran.code == 0
        assert ran.out.startswith("hearing-aid\n")
        assert "All budgets held" in ran.out
        lines = ran.err.splitlines()
        assert lines[:2] == [NOTICE, "[1/7] label: working 0/3"]
        assert lines[-2] == "[7/7] alternatives: working 3/3"
        assert lines[-1].startswith("warning: signed with edgekit's development key, which everybody has")

    def test_a_key_of_ones_own_is_no_matter_for_a_warning(self, edgekit, words, tmp_path):
        edgekit("image", "keygen", tmp_path / "k.pem")
        ran = edgekit(*words, "--key", tmp_path / "k.pem")
        assert ran.code == 0
        assert "warning" not in ran.err

    def test_a_key_that_is_none_stops_it_before_any_work(self, edgekit, words, tmp_path):
        ran = edgekit(*words, "--key", tmp_path / "no.pem")
        assert ran.code == 2
        assert error(ran)[0] == f"{tmp_path / 'no.pem'}: No such file or directory"
        assert not (tmp_path / "out").exists()

    def test_nothing_but_json_on_stdout(self, edgekit, words, tmp_path):
        ran = edgekit(*words, "--json")
        assert json.loads(ran.out) == json.loads((tmp_path / "out" / "report" / "report.json").read_text())

    def test_exceeded_budget_is_exit_code_4(self, edgekit, words, build_files, tmp_path):
        build_files["quantize"]["model.onnx"] = "o" * 70_000
        ran = edgekit(*words)
        assert ran.code == 4
        assert "Over budget: model.onnx" in ran.out
        assert (tmp_path / "out" / "sim" / "profile.json").exists()

    def test_default_folder_is_named_after_the_target(self, edgekit, words, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert edgekit(*words[:3]).code == 0
        assert (tmp_path / "build" / "hearing-aid" / "sim" / "profile.json").exists()

    def test_options_reach_the_pipeline(self, monkeypatch, tmp_path):
        seen: list[pipeline.BuildConfig] = []

        def build(config: pipeline.BuildConfig, _: object) -> None:
            seen.append(config)
            raise KeyboardInterrupt

        monkeypatch.setattr(pipeline, "build", build)
        options = "--teacher T --student S --weights int8 --level utterance --hop 64 --from-scratch --seed 7"
        main(
            [
                "build",
                "--target",
                "hearing-aid",
                "--out",
                "o",
                *options.split(),
                "--key",
                "k.pem",
                "--audio",
                "a",
                "b",
                "--audio",
                "c",
            ]
        )
        audio = (Path("a"), Path("c"), Path("b"))
        settings = ("T", "S", "int8", "utterance", 64, True, 7, Path("k.pem"))
        assert seen == [pipeline.BuildConfig("hearing-aid", Path("o"), audio, *settings)]


class TestReport:
    def test_shows_what_the_build_showed(self, edgekit, build_dir):
        ran = edgekit("report", build_dir)
        assert (ran.code, ran.err) == (0, "")
        assert "All budgets held" in ran.out
        assert json.loads(edgekit("report", build_dir, "--json").out)["schema"] == 3

    def test_of_another_folder(self, edgekit, tmp_path):
        ran = edgekit("report", tmp_path)
        assert ran.code == 5
        assert error(ran) == (
            f"{tmp_path}: not a build directory (build.json is missing)",
            "run edgekit build",
        )

    def test_of_a_build_that_is_not_finished(self, edgekit, build_dir):
        (build_dir / "sim" / "manifest.json").unlink()
        ran = edgekit("report", build_dir)
        assert ran.code == 5
        assert "no simulate artifact here" in error(ran)[0]


class TestSimulate:
    def test_outside_a_build_directory(self, edgekit, tmp_path):
        assert edgekit("simulate", tmp_path).code == 5

    def test_with_audio_that_is_none(self, edgekit, build_dir, tmp_path):
        (tmp_path / "a.wav").write_text("no audio")
        ran = edgekit("simulate", build_dir, "--audio", tmp_path / "a.wav")
        assert ran.code == 7

    def test_with_damaged_firmware(self, edgekit, build_dir):
        (build_dir / "firmware" / "firmware.elf").write_text("?")
        assert edgekit("simulate", build_dir).code == 5

    @pytest.mark.parametrize(
        ("lost", "told"), [(77, ["in time     77 of 500 blocks of audio lost"]), (None, [])]
    )
    def test_says_how_much_audio_was_lost(self, monkeypatch, edgekit, build_dir, lost, told):
        shown = {**profile(), "results": []}
        shown["schedule"]["in_time"] = lost and {**shown["schedule"]["in_time"], "lost_blocks": lost}
        monkeypatch.setattr("edgekit.cli.simulating._counted", lambda *_: (shown, None))
        ran = edgekit("simulate", build_dir)
        assert ran.code == 0
        assert [line for line in ran.out.splitlines() if line.startswith("in time")] == told


class TestListing:
    @pytest.mark.parametrize("words", [["targets"], ["targets", "list"]])
    def test_targets(self, edgekit, words):
        ran = edgekit(*words)
        names = [line.split()[0] for line in ran.out.splitlines()]
        assert names == ["corstone-300", "ezairo-class-m3", "hearing-aid", "host", "nrf5340", "nucleo-l4r5zi"]
        assert sorted(json.loads(edgekit(*words, "--json").out)) == names

    def test_one_target(self, edgekit):
        text = edgekit("targets", "show", "hearing-aid").out
        assert "clock_hz = 50_000_000\n" in text
        assert "flash_origin = 0x10000000\n" in text
        assert "dsp = true\n" in text
        assert (
            json.loads(edgekit("targets", "show", "hearing-aid", "--json").out)["core"]["cpu"] == "cortex-m33"
        )

    def test_unknown_target(self, edgekit):
        assert edgekit("targets", "show", "nucleo").code == 3

    def test_operators_are_the_page(self, edgekit):
        page = Path(__file__).parents[3] / "docs" / "operators.md"
        assert edgekit("ops").out == page.read_text(), "run edgekit ops > docs/operators.md"
        found = json.loads(edgekit("ops", "--json").out)
        assert "group 1, or one group for each channel" in found["ONNX"]["Conv"]
        assert "weights with zero point 0" in found["TFLite"]["CONV_2D"]
        pools = [found["TFLite"][f"{kind}_POOL_2D"] for kind in ("AVERAGE", "MAX")]
        assert ["fused activation that changes" in " ".join(pool) for pool in pools] == [False, True]
        assert ["a fused activation of" in " ".join(pool) for pool in pools] == [True, False]
        assert "the batch axis stays first" in found["TFLite"]["TRANSPOSE"]
        for kind, fixed in (("LOGISTIC", "1/256, zero -128"), ("TANH", "1/128, zero 0")):
            assert f"an output of scale {fixed}" in found["TFLite"][kind]
        assert "clamp is two int8 values in order." in found["graph"]["add"]["constraints"]

    def test_students(self, edgekit):
        assert edgekit("students").out.startswith("wav2small ")
        assert json.loads(edgekit("students", "--json").out)["wav2small"]


class TestDoctor:
    def test_finds_everything(self, edgekit):
        ran = edgekit("doctor")
        assert ran.code == 0, ran.out
        assert "missing" not in ran.out
        rows = json.loads(edgekit("doctor", "--json").out)["checks"]
        assert all(row["ok"] for row in rows)
        assert {"torch", "unicorn", "C compiler", "Arm compiler", "speech clips"} <= {
            row["name"] for row in rows
        }

    def test_says_what_is_missing_and_what_to_do(self, edgekit, monkeypatch):
        monkeypatch.setattr("codegen.toolchain.find_zig", lambda: None)
        monkeypatch.setattr("edgekit.cli.doctor.PACKAGES", ("no-such-package",))
        ran = edgekit("doctor")
        assert ran.code == 2
        assert re.search(r"no-such-package +missing +run pip install no-such-package", ran.out)
        assert re.search(r"Arm compiler +missing +no cross compiler", ran.out)


class TestProgress:
    def test_plain_lines_with_time_left(self):
        clock = iter([0.0, 1.0, 6.0, 7.0, 10.0, 11.0])
        stream = io.StringIO()
        progress = PlainProgress(stream, lambda: next(clock))
        for done in (0, 1, 4, 5, 8):
            progress("training", done, 8)
        progress("label: unchanged", 1, 1)
        assert stream.getvalue().splitlines() == [
            "training 0/8",
            "training 4/8, 6 s left",
            "training 8/8",
            "label: unchanged",
        ]

    def test_time_left_counts_from_where_the_phase_resumed(self):
        clock = iter([0.0, 10.0])
        stream = io.StringIO()
        progress = PlainProgress(stream, lambda: next(clock))
        progress("training", 90, 100)
        progress("training", 95, 100)
        assert stream.getvalue().splitlines()[-1] == "training 95/100, 10 s left"

    def test_live_bars_become_lines(self):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=80, color_system=None)
        with Bars(console=console, transient=True) as bars:
            live = LiveProgress(bars)
            live("[1/6] label: reading", 0, 2)
            live("[1/6] label: reading", 2, 2)
            live("[2/6] distill: training", 1, 2)
            assert [(task.description, task.completed) for task in bars.tasks] == [
                ("[2/6] distill: training", 1)
            ]
            live.finish()
            assert bars.tasks == []
        assert "[1/6] label: reading\n" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", stream.getvalue())


def test_no_stage_error_prints_a_traceback(edgekit, monkeypatch, stand_in_stages, tmp_path):
    def fail(*_: object) -> None:
        raise ArtifactError("out/graph: damaged", "run edgekit build again")

    monkeypatch.setattr(pipeline, "run_stages", fail)
    ran = edgekit("build", "--target", "hearing-aid", "--out", tmp_path / "out")
    assert ran.code == 5
    assert error(ran) == ("out/graph: damaged", "run edgekit build again")


class TestOut:
    def test_the_folder_that_one_stands_in(self, edgekit, tmp_path, monkeypatch):
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        ran = edgekit("label", tmp_path / "no-audio", "--out", ".")
        assert ran.code == 7
        assert "no such file or folder" in ran.err

    def test_the_root_of_the_file_system(self, edgekit):
        ran = edgekit("label", "speech", "--out", "/")
        assert ran.code == 2
        assert "/: not a folder to write" in ran.err
