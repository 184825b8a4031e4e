"""The page, Markdown, budget files and the schema of the report."""

import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from builds import arena
from unit.edgekit.commands import error

from edgekit.errors import ArtifactError, ConfigError
from edgekit.report import Figure, Limit, Verdict, assemble, charts
from edgekit.report.budget import load_budget
from edgekit.report.markdown import render_markdown
from edgekit.report.page import render_page
from edgekit.report.rows import Learning
from edgekit.report.schema import SCHEMA_FILE, read_report, validator, write_report
from edgekit.targets import load_target

TARGET = load_target("hearing-aid")
REMEDY = {
    "change": "hop <128>",
    "core_load_percent": 29.0,
    "total_ram_bytes": 20_000,
    "longest_result_ms": None,
    "missed_deadlines": 3,
    "average_uw": 500.0,
    "flash_bytes": 100_000,
    "held": False,
    "over": ["onnx_bytes", "deadlines"],
    "how": "simulated | twice",
}


@pytest.fixture
def report(build_dir):
    return assemble(build_dir, TARGET)


@pytest.fixture
def over(tmp_path, build_files, make_build):
    """A report whose load is exceeded, with a change that would help."""
    build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 45.0
    build_files["alternatives"]["remedies.json"] = {"remedies": [REMEDY]}
    return assemble(make_build(tmp_path / "over", build_files), TARGET)


class Page(HTMLParser):
    """What of a page matters here: headings, ids, links and attributes; tags that do not match are errors."""

    VOID = ("meta", "link", "br", "line", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, found, value in self.attributes if found == name]


class TestPage:
    def test_verdicts_come_first_then_what_would_meet_them(self, over):
        page = Page(render_page(over))
        assert page.headings[:3] == ["Budgets", "What would meet the budgets", "Accuracy and what it costs"]

    def test_the_conclusion_counts_missed_deadlines(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 997
        text = render_page(assemble(make_build(tmp_path, build_files), TARGET))
        conclusion = "1 of 6 budgets exceeded: missed deadlines (997 of 1,000)."
        assert f'<p class="conclusion fail">{conclusion}</p>' in text
        assert '<td class="num" role="cell" data-label="margin">997 over</td>' in text
        assert "<small>every target</small>" in text

    def test_has_every_section(self, report):
        assert Page(render_page(report)).headings == [
            "Budgets",
            "Accuracy and what it costs",
            "Memory",
            "Cycles by layer",
            "Real time",
            "Energy",
            "Agreement with the integer graph",
            "Quantization error by layer",
            "Learning curves",
            "Origin",
        ]

    def test_needs_nothing_else(self, over):
        text = render_page(over)
        assert not re.search(r"https?:|//|@import|url\(|<script|<iframe", text.partition("</style>")[2])
        assert not re.search(r"@import|url\(", text)
        assert {value for tag, name, value in Page(text).attributes if name in ("src", "href")} >= {"data:,"}

    def test_links_lead_to_sections(self, report):
        page = Page(render_page(report))
        targets = {value[1:] for value in page.values("href") if value.startswith("#")}
        assert len(targets) == 10
        assert targets <= set(page.values("id"))
        assert len(page.values("id")) == len(set(page.values("id")))

    def test_escapes_what_it_shows(self, over):
        text = render_page(over)
        assert "hop &lt;128&gt;" in text
        assert "<128>" not in text

    def test_names_the_timing_profile_and_its_error(self, report):
        assert render_page(report).count(report.timing.statement) == 2

    def test_same_report_same_bytes(self, report):
        assert render_page(report) == render_page(report)

    def test_every_table_can_scroll_and_has_heads(self, report):
        text = render_page(report)
        assert text.count("<table") == text.count('<div class="scroll')
        assert text.count("<table") == text.count("<thead>")

    def test_an_arena_has_a_time_line_with_its_peak(self, tmp_path, build_files, make_build):
        memory = build_files["codegen"]["memory.json"]
        build_files["codegen"]["memory.json"] = {**memory, "arena": arena()}
        text = render_page(assemble(make_build(tmp_path, build_files), TARGET))
        assert "The arena over time: 1,200 bytes" in text
        assert '<i class="peak" style="left:33.333%;width:33.333%">' in text
        place = "left:0.0%;width:66.667%;bottom:7.0%;height:91.0%"
        assert f'<i class="c0" style="{place}" title="l1_out: 1,092 bytes from 84, l1 to l2">' in text
        assert '<i class="c5" style="left:33.333%' in text

    def test_is_written_where_it_is_asked_for(self, edgekit, build_dir, tmp_path):
        ran = edgekit("report", build_dir, "--html", tmp_path / "page.html")
        assert (ran.code, ran.err) == (0, "")
        assert "All budgets held" in ran.out
        assert (tmp_path / "page.html").read_text() == render_page(assemble(build_dir, TARGET))

    def test_that_cannot_be_written_is_an_error(self, edgekit, build_dir, tmp_path):
        ran = edgekit("report", build_dir, "--html", tmp_path / "none" / "page.html")
        assert ran.code == 2
        assert "cannot be written" in error(ran)[0]


class TestCharts:
    def test_a_gauge_has_figure_limit_and_error_on_one_scale(self, over):
        load = next(verdict for verdict in over.verdicts if verdict.budget == "core_load_percent")
        gauge = charts.gauge_of(load)
        assert gauge.limit_at / gauge.width == pytest.approx(30 / 45)
        assert gauge.error[0] / gauge.width == pytest.approx(0.9)
        assert sum(gauge.error) == pytest.approx(100 / 1.02)

    def test_a_gauge_of_nothing_of_nothing_is_empty(self):
        verdict = Verdict("missed_deadlines", Limit(0, ""), Figure(0, "measured", ""))
        assert charts.gauge_of(verdict) == charts.Gauge(0, 0, None)

    def test_maps_fill_the_budget(self, report):
        for found in (charts.ram_map(report), charts.flash_map(report)):
            assert sum(piece.width for piece in found.segments) == pytest.approx(100)
            assert sum(piece.size_bytes for piece in found.segments) == found.limit_bytes
            assert [piece.free for piece in found.segments].count(True) == 1
        assert [piece.name for piece in charts.ram_map(report).segments] == [
            "stack, deepest",
            "state",
            "block",
            "other variables",
            "audio that may wait",
            "free, of the budget",
        ]

    def test_a_map_over_its_budget_ends_at_the_last_byte(self, tmp_path, build_files, make_build):
        memory = build_files["simulate"]["profile.json"]["memory"]
        memory |= {"static_bytes": 38_488, "total_ram_bytes": 40_000}
        found = charts.ram_map(assemble(make_build(tmp_path, build_files), TARGET))
        assert not any(piece.free for piece in found.segments)
        assert found.limit_at == pytest.approx(100 * 32_768 / 40_000)

    def test_lanes_lie_on_one_time_line(self, report):
        lanes, marks = charts.lanes_of(report.schedule)
        assert [lane.missed for lane in lanes] == [False, True, False]
        # From 0 to the deadline of the last block, 16 ms.
        assert (lanes[1].arrival, lanes[1].end, lanes[1].due) == (50, 81.25, 75)
        assert [mark.label for mark in marks] == ["0", "5", "10", "15"]

    def test_curves_start_where_there_are_values(self, report):
        loss, agreement = charts.learning_charts(report.learning)
        assert [curve.name for curve in agreement.curves] == ["arousal", "dominance", "valence"]
        assert loss.curves[0].line.startswith("M50.00 ")
        assert loss.kept_at == 75

    def test_what_was_never_measured_has_no_chart(self):
        row = {"step": 0.0, "learning_rate": 0.1, "train_loss": None}
        empty = dict.fromkeys(("dev_arousal", "dev_dominance", "dev_valence"))
        assert charts.learning_charts(Learning(0, ({**row, **empty},))) == ()

    @pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 373.2), (0.61, 0.77), (-3, 9), (5, 5), (0, 3e6)])
    def test_marks_are_few_and_within(self, low, high):
        marks = charts.ticks(low, high)
        assert len(marks) <= 7
        assert all(-1e-6 <= mark.at <= 100 + 1e-6 for mark in marks)
        assert len({mark.label for mark in marks}) == len(marks)


class TestMarkdown:
    def test_is_made_of_whole_tables(self, over):
        for block in re.findall(r"(?:^\|.*\n)+", render_markdown(over), re.M):
            cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(cells) == 1

    def test_verdicts_come_first_then_what_would_meet_them(self, over):
        text = render_markdown(over)
        assert text.startswith("## hearing-aid: over budget: core load\n\n| budget |")
        assert text.index("### What would meet the budgets") < text.index("<details>")
        row = r"| hop \<128\> | **FAIL** | \~29.0 % | 20,000 bytes | \~500.0 uW | never |"
        assert rf"{row} model.onnx, deadlines | simulated \| twice |" in text

    def test_missed_deadlines_have_a_verdict(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 997
        text = render_markdown(assemble(make_build(tmp_path, build_files), TARGET))
        assert text.startswith("## hearing-aid: over budget: missed deadlines (997 of 1,000)\n")
        assert r"| missed deadlines | **FAIL** | 0 | every target | \~997 | 997 over |" in text

    def test_names_the_timing_profile_and_its_error(self, report):
        assert report.timing.statement in render_markdown(report)

    def test_says_where_the_error_could_turn_a_verdict(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 29.0
        text = render_markdown(assemble(make_build(tmp_path, build_files), TARGET))
        assert "core load: the limit lies within the error of the estimate (26.1 to 31.9 %)." in text

    def test_alone_on_standard_output(self, edgekit, build_dir):
        ran = edgekit("report", build_dir, "--markdown")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == render_markdown(assemble(build_dir, TARGET))

    def test_and_json_exclude_each_other(self, edgekit, build_dir):
        assert edgekit("report", build_dir, "--markdown", "--json").code == 2


class TestBudgetFile:
    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "ci.toml"

    def test_replaces_what_it_names(self, edgekit, build_dir, file):
        file.write_text('flash_bytes = 90_000\nsource = "two slots"\n')
        ran = edgekit("report", build_dir, "--budget", file, "--json")
        assert ran.code == 4
        verdicts = json.loads(ran.out)["verdict"]
        assert (verdicts["flash_bytes"]["limit"], verdicts["flash_bytes"]["limit_from"]) == (
            90_000,
            "ci.toml",
        )
        assert (verdicts["onnx_bytes"]["limit"], verdicts["onnx_bytes"]["limit_from"]) == (
            60_000,
            "target hearing-aid",
        )
        assert [name for name, row in verdicts.items() if row["verdict"] == "fail"] == ["flash_bytes"]

    def test_can_relax_a_budget(self, edgekit, tmp_path, build_files, make_build, file):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 45.0
        build = make_build(tmp_path / "build", build_files)
        file.write_text("core_load_percent = 50\n")
        assert edgekit("report", build).code == 4
        assert edgekit("report", build, "--budget", file).code == 0

    def test_says_what_was_lost_in_time_alone(self, edgekit, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["in_time"]["lost_blocks"] = 2
        build, page = make_build(tmp_path / "build", build_files), tmp_path / "page.html"
        ran = edgekit("report", build)
        assert ran.code == 4
        assert "2 of 500 deadlines missed (4 ms)" in ran.out
        assert "Over budget: missed deadlines (2 of 500)" in " ".join(ran.out.split())
        markdown = edgekit("report", build, "--markdown").out
        assert markdown.startswith("## hearing-aid: over budget: missed deadlines (2 of 500)\n")
        edgekit("report", build, "--html", page)
        assert '<td class="num">2 of 500</td>' in page.read_text()

    @pytest.mark.parametrize(("results", "told"), [(354, "no window heard to its end"), (0, "no result")])
    def test_results_of_windows_without_an_end_are_results(
        self, edgekit, tmp_path, build_files, make_build, results, told
    ):
        ran = build_files["simulate"]["profile.json"]["schedule"]["in_time"]
        ran |= {"lost_blocks": 3, "results": results, "longest_result_ms": None}
        text = edgekit("report", make_build(tmp_path, build_files)).out
        assert f"500 blocks, 3 lost, {told}." in " ".join(text.split())

    def test_cannot_forgive_a_missed_deadline(self, edgekit, tmp_path, build_files, make_build, file):
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 997
        build = make_build(tmp_path / "build", build_files)
        file.write_text("core_load_percent = 1_000\n")
        for form in ([], ["--json"], ["--markdown"]):
            ran = edgekit("report", build, "--budget", file, *form)
            assert ran.code == 4
            assert "997" in ran.out
        file.write_text("missed_deadlines = 1_000\n")
        ran = edgekit("report", build, "--budget", file)
        assert ran.code == 2
        assert "unknown key missed_deadlines" in error(ran)[0]

    def test_reaches_what_would_meet_the_budgets(self, edgekit, tmp_path, build_files, make_build, file):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 45.0
        row = {**REMEDY, "missed_deadlines": 0, "held": True, "over": []}
        build_files["alternatives"]["remedies.json"] = {"remedies": [row]}
        build = make_build(tmp_path / "build", build_files)
        file.write_text("flash_bytes = 99_999\n")
        (found,) = json.loads(edgekit("report", build, "--budget", file, "--json").out)["remedies"]
        assert (found["held"], found["over"]) == (False, ["flash_bytes"])
        file.write_text("core_load_percent = 45\n")
        assert "What would meet" not in edgekit("report", build, "--budget", file).out

    def test_says_what_a_key_may_have_meant(self, edgekit, build_dir, file):
        file.write_text("flash_byte = 90_000\n")
        ran = edgekit("report", build_dir, "--budget", file)
        assert ran.code == 2
        what, hint = error(ran)
        assert what == f"{file}: unknown key flash_byte; did you mean 'flash_bytes'?"
        assert hint.startswith("the keys are total_ram_bytes, flash_bytes, ")

    @pytest.mark.parametrize("value", ["0", "-1", "true", '"x"', "1.5", "inf", "nan"])
    def test_takes_positive_whole_bytes(self, file, value):
        file.write_text(f"flash_bytes = {value}\n")
        with pytest.raises(ConfigError, match="is not a positive whole number"):
            load_budget(file)

    def test_that_is_no_toml(self, file):
        file.write_text("flash_bytes\n")
        with pytest.raises(ConfigError, match="not readable as TOML"):
            load_budget(file)

    def test_that_is_not_there(self, file):
        with pytest.raises(ConfigError, match="not readable as TOML"):
            load_budget(file)


class TestSchema:
    def test_is_one_itself(self):
        jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA_FILE.read_text()))

    def test_holds_for_reports(self, report, over):
        validator().validate(report.to_dict())
        validator().validate(over.to_dict())

    def test_every_object_is_closed(self):
        def objects(value):
            if isinstance(value, dict):
                yield from [value] if value.get("type") == "object" else []
                for inner in value.values():
                    yield from objects(inner)

        schema = json.loads(SCHEMA_FILE.read_text())
        is_open = [found for found in objects(schema) if "additionalProperties" not in found]
        assert is_open == [schema["$defs"]["stages"]]

    @pytest.mark.parametrize("change", [{"extra": 1}, {"schema": 1}, {"remedies": [{}]}])
    def test_what_breaks_it_is_not_written(self, report, tmp_path, change):
        with pytest.raises(jsonschema.ValidationError):
            write_report(tmp_path / "report.json", report.to_dict() | change)
        assert not (tmp_path / "report.json").exists()

    def test_written_and_read_again(self, report, tmp_path):
        write_report(tmp_path / "report.json", report.to_dict())
        assert read_report(tmp_path / "report.json") == report.to_dict()

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("latency.core_load_percent.value", -1),
            ("latency.layers", []),
            ("latency.layers.0.cycles_interval", [2, 1]),
            ("latency.schedule.model_load_percent", -1),
            ("memory.total_ram_bytes.value", -1),
            ("memory.total_ram_bytes.interval", [-1, 1]),
            ("size.flash_bytes.value", -1),
            ("energy.average_uw.interval", [2, 1]),
            ("quantization_error.layers", []),
            ("remedies.0.core_load_percent", -1),
            ("verdict.missed_deadlines.limit", 1),
            ("verdict.flash_bytes.limit", -1),
            ("verdict.flash_bytes.actual", -1),
        ],
    )
    def test_knows_what_cannot_be(self, over, tmp_path, path, value):
        values = json.loads(json.dumps(over.to_dict()))
        (tmp_path / "report.json").write_text(json.dumps(values))
        read_report(tmp_path / "report.json")
        *groups, name = path.split(".")
        inner = values
        for group in groups:
            inner = inner[int(group) if group.isdigit() else group]
        inner[name] = value
        (tmp_path / "report.json").write_text(json.dumps(values))
        with pytest.raises(ArtifactError, match=r"damaged \(\$\."):
            read_report(tmp_path / "report.json")
        with pytest.raises(jsonschema.ValidationError):
            write_report(tmp_path / "again.json", values)
