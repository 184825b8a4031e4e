"""Reports of builds that run on this computer itself: time is measured, and much is not known."""

import io
import json

import pytest
from builds import measured_profile
from rich.console import Console
from unit.edgekit.commands import error

from edgekit.report import assemble
from edgekit.report.diff import compare_reports
from edgekit.report.markdown import render_markdown
from edgekit.report.page import render_page
from edgekit.report.schema import validator
from edgekit.report.terminal import render
from edgekit.targets import load_target

HOST = load_target("host")
STATEMENT = "Timing profile host: cycles are nanoseconds measured on this computer, no error known."
REMEDY = {
    "change": "hop 128",
    "core_load_percent": 29.0,
    "total_ram_bytes": 20_000,
    "longest_result_ms": 3.5,
    "missed_deadlines": 0,
    "average_uw": None,
    "flash_bytes": 100_000,
    "held": True,
    "over": [],
    "how": "measured",
}


@pytest.fixture
def host_files(build_files):
    build_files["simulate"]["profile.json"] = measured_profile()
    return build_files


@pytest.fixture
def host_dir(tmp_path, host_files, make_build):
    return make_build(tmp_path / "host", host_files, "host")


@pytest.fixture
def report(host_dir):
    return assemble(host_dir, HOST)


@pytest.fixture
def mended(tmp_path, host_files, make_build):
    host_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 3
    host_files["alternatives"]["remedies.json"] = {"remedies": [REMEDY]}
    return assemble(make_build(tmp_path / "mended", host_files, "host"), HOST)


def shown(report):
    stream = io.StringIO()
    Console(file=stream, width=80, highlight=False).print(render(report))
    return stream.getvalue()


def test_its_cycles_are_measured_and_have_no_interval(report):
    measured = ("cycles_per_second_of_audio", "core_load_percent", "worst_block_cycles", "cycles_per_mac")
    for name in measured:
        assert (report.latency[name].basis, report.latency[name].interval) == ("measured", None)
    how = "processor time of this computer, not repeatable"
    assert report.latency["cycles_per_second_of_audio"].how == how
    assert report.latency["worst_block_cycles"].how == f"{how}, 64 samples a block"
    assert report.latency["cycles_per_mac"].value == 4.0
    assert report.timing.statement == STATEMENT


def test_what_is_not_known_is_absent_and_says_why(report):
    instructions = report.latency["instructions_per_second_of_audio"]
    assert (instructions.value, instructions.how) == (None, "not counted on this computer itself")
    for name in ("average_uw", "battery_hours"):
        assert report.energy[name].value is None
        assert report.energy[name].how == "the power of target host is not known"
    assert report.assumptions == {}
    budgets = [verdict.budget for verdict in report.verdicts]
    held = ["total_ram_bytes", "flash_bytes", "onnx_bytes", "core_load_percent", "missed_deadlines"]
    assert budgets == held


def test_its_layers_are_one_row(report):
    (row,) = report.layers
    assert (row.layer, row.part, row.instructions_per_second_of_audio) == ("all", "all", None)
    assert row.to_dict()["basis"]["cycles"] == "measured"


def test_memory_says_how_it_was_measured(report):
    figures = report.memory.figures
    assert figures["stack_bytes"].how == "deepest stack of the run, on a stack painted before"
    for figure in (figures["static_bytes"], report.size["flash_bytes"]):
        assert "by the symbols of firmware.elf" in figure.how
    assert report.accuracy["device_vs_graph"]["arousal"].how == "3 natively run clips"


def test_its_json_is_as_the_schema_says(report, mended):
    for each in (report, mended):
        values = json.loads(json.dumps(each.to_dict(), allow_nan=False))
        validator().validate(values)
    assert values["latency"]["timing"]["cycles_basis"] == "measured"
    assert values["energy"]["assumptions"] == {}


def test_the_terminal_marks_what_is_measured(mended):
    lines = shown(mended).splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["all"][1:4] == ["10,000,000", "100.0", "%"]
    assert "cycles are nanoseconds measured on this computer" in " ".join(lines)
    assert any(line.startswith("hop 128") and "n/a" in line for line in lines)
    assert rows["missed"] == ["missed", "deadlines", "FAIL", "0", "3", "3", "over"]
    assert any(line.startswith("core load") and " 20.0 %" in line for line in lines)
    assert any(line.startswith("instructions per second") and " n/a " in line for line in lines)
    assert "Energy rests on" not in lines


def test_the_page_and_markdown_say_so(mended):
    page, text = render_page(mended), render_markdown(mended)
    assert STATEMENT in page
    assert STATEMENT in text
    assert "What this rests on" not in page
    assert "Wait states" not in page
    assert "the device has" not in page
    assert "Device: this computer, audio" in page
    assert '<th scope="row" class="code">all</th><td class="num">10,000,000</td>' in page
    assert "in all</th>" not in page
    assert "cycles (measured)" in text
    assert "Energy rests on" not in text
    assert "| hop 128 | pass | \\~29.0 % | 20,000 bytes | n/a |" in text


def test_layers_and_energy_are_compared_only_where_they_are_known(report, tmp_path, make_build):
    from builds import stage_files

    device = assemble(make_build(tmp_path / "device", stage_files()), load_target("hearing-aid"))
    for before, after in ((device, report), (report, device)):
        diff = compare_reports(before.to_dict(), after.to_dict())
        names = {figure.name for figure in diff.figures}
        assert diff.layers == ()
        assert "energy.battery_hours" not in names
        assert "latency.core_load_percent" in names


def test_a_budget_of_what_is_not_known_fails(edgekit, host_dir, tmp_path):
    assert edgekit("report", host_dir).code == 0
    (tmp_path / "ci.toml").write_text("average_uw = 100.0\n")
    ran = edgekit("report", host_dir, "--budget", tmp_path / "ci.toml")
    assert ran.code == 4
    assert "average power" in ran.out


@pytest.mark.parametrize(("option", "value"), [("--lines", "3"), ("--flip", "weights:0.1")])
def test_what_cannot_be_simulated_is_refused(edgekit, host_dir, option, value):
    ran = edgekit("simulate", host_dir, option, value)
    assert ran.code == 2
    what, hint = error(ran)
    assert what == f"{option}: target host runs on this computer itself, not on a simulated core"
    assert "edgekit targets" in hint


def test_its_target_is_shown_without_what_it_lacks(edgekit):
    text = edgekit("targets", "show", "host").out
    assert "[power]" not in text
    assert "average_uw" not in text
    assert "clock_hz = 1_000_000_000" in text
    assert json.loads(edgekit("targets", "show", "host", "--json").out)["power"] is None
