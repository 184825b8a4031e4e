"""Two builds side by side: as data, in the terminal, in JSON and in Markdown."""

import copy
import io
import json

import pytest
from builds import profile, stage_files, write_build
from rich.console import Console
from unit.edgekit.commands import error

from edgekit import artifact
from edgekit.report import assemble
from edgekit.report.diff import Change, Diff, VerdictChange, compare_reports
from edgekit.report.schema import PLACE, validator, write_report
from edgekit.report.terminal import render
from edgekit.targets import load_target

TARGET = load_target("hearing-aid")


def written(folder, files):
    """Write a build and its report."""
    build = write_build(folder, files)
    (build / PLACE).parent.mkdir()
    write_report(build / PLACE, assemble(build, TARGET).to_dict())
    return build


@pytest.fixture
def before(tmp_path):
    return written(tmp_path / "before", stage_files())


@pytest.fixture
def after(tmp_path):
    """A build with a slower layer, a better student, less RAM, one function more and one fewer."""
    files = stage_files()
    found = profile()
    found["layers"][2]["cycles"] = 16_000_000
    found["latency"] |= {"cycles_per_second_of_audio": 11_000_000.0, "core_load_percent": 31.0}
    found["memory"] |= {"total_ram_bytes": 21_012, "static_bytes": 19_500}
    found["memory"]["symbols"][0]["size_bytes"] = 18_500
    found["flash"]["symbols"][1] = {"name": "new_kernel", "section": ".text", "size_bytes": 700}
    found["schedule"]["longest_result_ms"] = None
    files["simulate"]["profile.json"] = found
    files["distill"]["metrics.json"]["student_vs_teacher"]["arousal"] = 0.93
    return written(tmp_path / "after", files)


@pytest.fixture
def diff(before, after) -> Diff:
    return compare_reports(*(json.loads((build / PLACE).read_text()) for build in (before, after)))


def change(diff: Diff, name: str) -> Change:
    return next(row for row in diff.figures if row.name == name)


class TestData:
    def test_each_figure_says_by_how_much_it_changed(self, diff):
        ram = change(diff, "memory.total_ram_bytes")
        assert (ram.before, ram.after, ram.change, ram.judgement) == (21_512, 21_012, -500, "better")
        assert ram.change_percent == pytest.approx(-100 * 500 / 21_512)

    @pytest.mark.parametrize(
        ("name", "judgement"),
        [
            ("latency.core_load_percent", "worse"),
            ("accuracy.student_vs_teacher.arousal", "better"),
            ("accuracy.student_vs_teacher.valence", "same"),
            ("size.onnx_bytes", "same"),
            # From a number to "never catches up".
            ("latency.longest_result_ms", "worse"),
            ("latency.schedule.missed_deadlines", "same"),
            ("parity.onnx.mismatches", "same"),
        ],
    )
    def test_says_whether_the_device_is_better_off(self, diff, name, judgement):
        assert change(diff, name).judgement == judgement

    def test_the_other_way_round_is_the_other_judgement(self, before, after):
        reports = [json.loads((build / PLACE).read_text()) for build in (after, before)]
        turned = compare_reports(*reports)
        assert change(turned, "latency.longest_result_ms").judgement == "better"
        assert change(turned, "accuracy.student_vs_teacher.arousal").judgement == "worse"

    def test_deadlines_of_reports_before_they_were_a_verdict(self, before, after):
        old, new = (json.loads((build / PLACE).read_text()) for build in (before, after))
        del old["verdict"]["missed_deadlines"]
        assert "missed_deadlines" not in [row.budget for row in compare_reports(old, new).verdicts]
        old["latency"]["schedule"]["missed_deadlines"] = 1
        turned = VerdictChange("missed_deadlines", "fail", "pass")
        assert turned in compare_reports(old, new).verdicts

    def test_blocks_that_were_lost_in_time_are_missed_deadlines(self, before, after):
        old, new = (json.loads((build / PLACE).read_text()) for build in (before, after))
        old["latency"]["schedule"]["in_time"] = None
        new["latency"]["schedule"]["in_time"]["lost_blocks"] = 2
        missed = change(compare_reports(old, new), "latency.schedule.missed_deadlines")
        assert (missed.before, missed.after, missed.judgement) == (0, 2, "worse")

    def test_verdicts_that_turned(self, diff):
        assert [(row.budget, row.before, row.after) for row in diff.verdicts] == [
            ("core_load_percent", "pass", "fail")
        ]

    def test_layers_and_symbols_that_changed_most_come_first(self, diff):
        assert [(row.name, row.change) for row in diff.layers] == [("l1", 1_000_000)]
        assert [(row.name, row.change) for row in diff.ram_symbols] == [("state", -500)]
        assert [(row.name, row.before, row.after) for row in diff.flash_symbols] == [
            ("kernel_0", 900, 0),
            ("new_kernel", 0, 700),
        ]
        assert diff.flash_symbols[1].change_percent is None

    def test_a_figure_that_only_one_build_has_is_undefined(self, before):
        report = json.loads((before / PLACE).read_text())
        other = copy.deepcopy(report)
        other["memory"]["arena_size_bytes"] = {"value": 1200, "basis": "measured", "how": "planned"}
        found = change(compare_reports(report, other), "memory.arena_size_bytes")
        assert (found.before, found.after, found.judgement) == (None, 1200, "undefined")

    def test_a_build_against_itself_is_the_same(self, before):
        report = json.loads((before / PLACE).read_text())
        found = compare_reports(report, report)
        assert (found.changed, found.verdicts, found.most_changed) == ((), (), {})


class TestForms:
    def test_terminal_at_80_columns(self, after, diff):
        stream = io.StringIO()
        Console(file=stream, width=80, highlight=False).print(render(assemble(after, TARGET), diff))
        lines = stream.getvalue().splitlines()
        assert max(map(len, lines)) <= 80
        at = lines.index("Changes since the build for hearing-aid")
        assert lines.index("Budgets") < at < lines.index("Agreement with the integer graph")
        assert "core load: pass -> fail" in lines
        row = next(line for line in lines[at:] if line.startswith("core load, %"))
        assert row.split()[3:] == ["20.0", "31.0", "+11.0", "+55.0", "%", "worse"]
        assert "…" not in "".join(lines)

    @pytest.mark.parametrize("width", [60, 40, 30])
    def test_narrow_terminals_keep_each_change(self, after, diff, width):
        stream = io.StringIO()
        Console(file=stream, width=width, highlight=False).print(render(assemble(after, TARGET), diff))
        text = stream.getvalue()
        changes = text[text.index("Changes since") : text.index("Accuracy (CCC")]
        row = next(line for line in changes.splitlines() if line.startswith("core load, %"))
        assert "+11.0" in row.split()
        assert ("worse" in row) == (width > 30)

    def test_json_holds_it_and_keeps_the_schema(self, edgekit, before, after):
        ran = edgekit("report", after, "--diff", before, "--json")
        assert ran.code == 4
        values = json.loads(ran.out)
        validator().validate(values)
        rows = {row["name"]: row for row in values["diff"]["figures"]}
        assert rows["memory.total_ram_bytes"]["change"] == -500

    def test_markdown_says_it_behind_the_verdicts(self, edgekit, before, after):
        out = edgekit("report", after, "--diff", before, "--markdown").out
        assert out.startswith("## hearing-aid: over budget: core load\n")
        assert "**core load: pass before, fail now.**" in out
        assert "| core load, % | 20.0 | 31.0 | +11.0 | +55.0 % | **worse** |" in out
        assert "| student vs teacher, arousal | 0.9100 | 0.9300 | +0.0200 | +2.2 % | better |" in out

    def test_the_page_shows_it(self, edgekit, before, after, tmp_path):
        edgekit("report", after, "--diff", before, "--html", tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text()
        assert "Changes since the build for hearing-aid" in page
        assert '<td class="worse">worse</td>' in page


class TestTheOtherBuild:
    def test_may_be_its_report(self, edgekit, before, after):
        ran = edgekit("report", after, "--diff", before / PLACE)
        assert ran.code == 4
        assert "Changes since" in ran.out

    def test_of_an_older_schema(self, edgekit, before, after):
        artifact.write_json(before / PLACE, {"schema": 1})
        ran = edgekit("report", after, "--diff", before)
        assert ran.code == 5
        assert error(ran) == (
            f"{before / PLACE}: schema 1, this edgekit reads 3",
            "run edgekit build again to write it anew",
        )

    def test_that_is_damaged(self, edgekit, before, after):
        values = json.loads((before / PLACE).read_text())
        del values["size"]["parameters"]
        artifact.write_json(before / PLACE, values)
        ran = edgekit("report", after, "--diff", before)
        assert ran.code == 5
        assert "damaged ($.size: 'parameters' is a required property" in error(ran)[0]

    @pytest.mark.parametrize("text", ["{", "[]", "{}"])
    def test_that_is_no_report(self, edgekit, before, after, text):
        (before / PLACE).write_text(text)
        assert error(edgekit("report", after, "--diff", before))[0] == f"{before / PLACE}: not a report"

    def test_that_is_not_there(self, edgekit, after, tmp_path):
        ran = edgekit("report", after, "--diff", tmp_path / "none")
        assert error(ran) == (
            f"{tmp_path / 'none'}: no report here (No such file or directory)",
            "run edgekit build",
        )
