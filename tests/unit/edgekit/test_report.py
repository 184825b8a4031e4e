import io
import json

import pytest
from builds import arena
from rich.console import Console

from edgekit.errors import ArtifactError
from edgekit.report import STAGES, Figure, Limit, Report, Verdict, assemble
from edgekit.report.schema import validator
from edgekit.report.terminal import render
from edgekit.targets import load_target

BUDGETS = [
    "total_ram_bytes",
    "flash_bytes",
    "onnx_bytes",
    "core_load_percent",
    "average_uw",
    "missed_deadlines",
]
COMPARISONS = ["teacher_vs_reference", "student_vs_teacher", "quantized_vs_student", "device_vs_graph"]
TARGET = load_target("hearing-aid")
REMEDY = {
    "change": "hop 128",
    "core_load_percent": 29.0,
    "total_ram_bytes": 20_000,
    "longest_result_ms": 3.5,
    "missed_deadlines": 0,
    "average_uw": 500.0,
    "flash_bytes": 100_000,
    "held": True,
    "over": [],
    "how": "simulated",
}


@pytest.fixture
def report(build_dir) -> Report:
    return assemble(build_dir, TARGET)


def shown(report: Report, encoding: str = "utf-8", width: int = 80) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    Console(file=stream, width=width, highlight=False).print(render(report))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


class TestFigures:
    def test_come_from_the_stages_files(self, report):
        assert report.size["parameters"].value == 72_659
        assert report.size["onnx_bytes"].value == 55_000
        assert report.size["weights_bytes"].value == 50_000
        assert report.size["flash_bytes"].value == 100_000
        assert report.memory.figures["total_ram_bytes"].value == 21_512
        assert report.latency["core_load_percent"].value == 20.0
        assert report.latency["audio_path_load_percent"].value == 70.0
        assert report.energy["average_uw"].value == 348.0
        assert report.accuracy["student_vs_teacher"]["arousal"].value == 0.91

    def test_measured_and_estimated_are_told_apart(self, report):
        for name, figure in {**report.latency, **report.energy}.items():
            assert figure.basis == ("measured" if name.startswith("instructions") else "estimated")
        for figures in (report.size, report.memory.figures, *report.accuracy.values()):
            assert {figure.basis for figure in figures.values()} == {"measured"}

    def test_layers_are_costs_of_one_second(self, report):
        spectrum, l1, board = report.layers
        assert [(row.layer, row.part) for row in report.layers] == [
            ("spectrum", "front end"),
            ("l1", "network"),
            ("board", "around"),
        ]
        assert board.cycles_per_mac is None
        assert l1.cycles_per_mac == pytest.approx(2.8)
        assert spectrum.instructions_per_second_of_audio == 2_000_000
        assert l1.cycles_per_second_of_audio == 7_000_000
        assert l1.macs_per_second_of_audio == 2_500_000
        assert spectrum.macs_per_second_of_audio is None
        # Of the layer with MACs alone: 14 M cycles for 5 M of them.
        assert report.latency["cycles_per_mac"].value == pytest.approx(2.8)

    def test_uncalibrated_cycles_are_an_interval(self, tmp_path, build_files, make_build):
        timing = build_files["simulate"]["profile.json"]["timing"]
        timing |= {"error": None, "cycles_are_upper_bound": True}
        report = assemble(make_build(tmp_path, build_files), TARGET)
        figure = report.latency["cycles_per_second_of_audio"]
        assert (figure.value, figure.interval) == (10_000_000, (6_500_000, 10_000_000))
        assert report.latency["core_load_percent"].interval == pytest.approx((13, 20))
        assert report.energy["average_uw"].interval == pytest.approx((226.2, 348))
        assert report.latency["worst_block_cycles"].interval is None
        assert report.layers[1].interval == (4_500_000, 7_000_000)
        assert report.timing.statement == (
            "Timing profile cortex-m33: uncalibrated. Cycles are an interval, from 1 per instruction to the "
            "upper bound, which budgets are held to."
        )

    def test_a_calibrated_profile_has_its_error_on_every_estimate(self, report):
        assert report.timing.statement == ("Timing profile cortex-m33: error up to 10 %, 4 % on average.")
        assert report.latency["cycles_per_second_of_audio"].interval == pytest.approx((9e6, 11e6))
        assert report.latency["worst_block_cycles"].interval == pytest.approx((81_000, 99_000))
        assert report.latency["cycles_per_mac"].interval == pytest.approx((2.52, 3.08))
        # The audio path is no estimate of the timing profile.
        assert report.latency["total_load_percent"].interval == pytest.approx((88, 92))
        assert report.energy["battery_hours"].interval == pytest.approx((672.4 / 1.1, 672.4 / 0.9))
        assert report.latency["instructions_per_second_of_audio"].interval is None
        assert "error up to 10 %" in report.latency["cycles_per_second_of_audio"].how

    def test_a_profile_that_was_never_compared_says_so(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["timing"]["error"] = None
        report = assemble(make_build(tmp_path, build_files), TARGET)
        assert report.timing.statement == "Timing profile cortex-m33: not compared with a board."
        assert {figure.interval for figure in report.latency.values()} == {None}

    def test_a_wait_that_never_ends_is_undefined(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["longest_result_ms"] = None
        figure = assemble(make_build(tmp_path, build_files), TARGET).latency["longest_result_ms"]
        assert (figure.value, figure.how) == (None, "the core never catches up")

    def test_a_window_is_said_so(self, tmp_path, build_files, make_build):
        schedule = build_files["simulate"]["profile.json"]["schedule"]
        schedule |= {"policy": "window", "window_s": 2.0, "every_s": 12.5}
        report = assemble(make_build(tmp_path, build_files), TARGET)
        assert report.schedule.statement == "The model hears 2 s of audio every 12.5 s."
        assert "end of a window" in report.latency["longest_result_ms"].how

    def test_symbols_and_sections_come_from_the_firmware(self, report):
        assert [symbol.name for symbol in report.memory.ram_symbols] == ["state", "block"]
        assert report.memory.flash_sections == {".text": 49_000, ".model": 50_000, ".rodata": 1_000}
        assert len(report.memory.flash_symbols) == 21

    def test_state_is_in_the_order_of_the_graph(self, tmp_path, build_files, make_build):
        build_files["codegen"]["memory.json"] = {"state_bytes_by_layer": {"l1": 1, "l2": 2, "spectrum": 3}}
        memory = assemble(make_build(tmp_path, build_files), TARGET).memory
        assert list(memory.state_bytes_by_layer) == ["spectrum", "l1", "l2"]

    def test_the_learning_curve_is_the_students_history(self, report):
        assert report.learning.kept_step == 15
        assert [row["step"] for row in report.learning.steps] == [0, 10, 20]
        assert report.learning.steps[0]["train_loss"] is None
        assert report.learning.steps[2]["dev_valence"] == 0.4

    def test_parity_adds_up_per_back_end(self, report):
        assert list(report.parity) == ["onnx", "tflite", "c-host", "simulated-core"]
        onnx = report.parity["onnx"]
        assert (onnx.layers, onnx.elements, onnx.mismatches, onnx.max_lsb) == (2, 1500, 3, 1)
        assert all(parity.held for parity in report.parity.values())

    @pytest.mark.parametrize(("field", "value"), [("mismatches", 1), ("max_lsb", 1), ("elements", 0)])
    def test_parity_fails(self, tmp_path, build_files, make_build, field, value):
        build_files["codegen"]["parity.json"]["layers"][0][field] = value
        assert not assemble(make_build(tmp_path, build_files), TARGET).parity["c-host"].held

    def test_provenance_names_every_artifact(self, report):
        assert set(report.provenance["artifacts"]) == set(report.provenance["params"])
        assert len(set(report.provenance["artifacts"].values())) == 7
        assert report.provenance["teacher"] == "compact"

    @pytest.mark.parametrize("folder", ["labels", "student", "graph", "c", "firmware", "sim", "alternatives"])
    def test_damage_is_an_artifact_error(self, build_dir, folder):
        next(p for p in (build_dir / folder).iterdir() if p.name != "manifest.json").write_text("?")
        with pytest.raises(ArtifactError, match="is damaged"):
            assemble(build_dir, TARGET)

    def test_a_teacher_without_reference_is_said_so(self, tmp_path, build_files, make_build):
        build_files["label"]["teacher.json"]["teacher_vs_reference"] = None
        figures = assemble(make_build(tmp_path, build_files), TARGET).accuracy["teacher_vs_reference"]
        assert {figure.value for figure in figures.values()} == {None}


class TestVerdicts:
    def test_one_per_budget(self, report):
        assert [verdict.budget for verdict in report.verdicts] == BUDGETS
        assert [verdict.limit.value for verdict in report.verdicts] == [
            32_768,
            147_456,
            60_000,
            30.0,
            522.0,
            0,
        ]
        assert report.exceeded == ()

    @pytest.mark.parametrize(
        ("missed", "lost", "actual"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (3, 2, 3), (1, None, 1)]
    )
    def test_no_deadline_may_be_missed(self, tmp_path, build_files, make_build, missed, lost, actual):
        schedule = build_files["simulate"]["profile.json"]["schedule"]
        schedule["missed_deadlines"] = missed
        ran = lost is not None
        schedule["in_time"] = {**schedule["in_time"], "lost_blocks": lost} if ran else None
        report = assemble(make_build(tmp_path, build_files), TARGET)
        assert [each.budget for each in report.exceeded] == ["missed_deadlines"] * (actual > 0)
        assert report.to_dict()["verdict"]["missed_deadlines"] == {
            "verdict": "fail" if actual else "pass",
            "within_error": False,
            "limit": 0,
            "limit_from": "every target",
            "actual": actual,
            "margin_percent": None,
            "basis": "estimated",
            "how": "of 1,000 blocks of audio laid out in time" + ", and of 500 run in time" * ran,
        }

    def test_no_limit_moves_that_of_missed_deadlines(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 1
        limits = {"missed_deadlines": Limit(1_000, "ci.toml")}
        assert assemble(make_build(tmp_path, build_files), TARGET, limits).exceeded

    def test_a_limit_within_the_error_of_an_estimate_is_said_so(self):
        near = Figure(29, "estimated", "", (26, 32))
        assert Verdict("x", Limit(30, ""), near).within_error
        assert Verdict("x", Limit(26, ""), near).within_error
        assert not Verdict("x", Limit(32, ""), near).within_error
        assert not Verdict("x", Limit(25, ""), near).within_error
        assert not Verdict("x", Limit(30, ""), Figure(29, "measured", "")).within_error

    def test_exceeded_by_one(self, tmp_path, build_files, make_build):
        build_files["quantize"]["model.onnx"] = "o" * 60_001
        report = assemble(make_build(tmp_path, build_files), TARGET)
        assert [verdict.budget for verdict in report.exceeded] == ["onnx_bytes"]
        assert report.exceeded[0].margin_percent == pytest.approx(-100 / 60_000)

    def test_held_at_the_limit_exactly(self):
        assert Verdict("x", Limit(10, ""), Figure(10, "measured", "")).held
        assert not Verdict("x", Limit(10, ""), Figure(None, "measured", "")).held


class TestRemedies:
    @pytest.fixture
    def remedied(self, tmp_path, build_files, make_build):
        """The report of a build whose load is exceeded: with rows tried, and with other limits."""
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 45.0

        def assembled(*rows, **limits):
            build_files["alternatives"]["remedies.json"] = {"remedies": list(rows)}
            folder = make_build(tmp_path / f"build{len(list(tmp_path.iterdir()))}", build_files)
            return assemble(folder, TARGET, {name: Limit(value, "ci.toml") for name, value in limits.items()})

        return assembled

    @pytest.mark.parametrize(
        ("budget", "limit", "over"),
        [
            ("core_load_percent", 28.9, ("core_load_percent",)),
            ("core_load_percent", 29.0, ()),
            ("total_ram_bytes", 19_999, ("total_ram_bytes",)),
            ("total_ram_bytes", 20_000, ()),
            ("flash_bytes", 99_999, ("flash_bytes",)),
            ("average_uw", 499.9, ("average_uw",)),
            ("average_uw", 500.0, ()),
        ],
    )
    def test_are_held_to_the_limits_of_the_report(self, remedied, budget, limit, over):
        (remedy,) = remedied(REMEDY, **{budget: limit}).remedies
        assert (remedy.over, remedy.held) == (over, not over)

    def test_hold_where_a_limit_is_relaxed(self, remedied):
        row = {**REMEDY, "flash_bytes": 150_000, "held": False, "over": ["flash_bytes"]}
        assert not remedied(row).remedies[0].held
        assert remedied(row, flash_bytes=150_000).remedies[0].held

    def test_that_miss_deadlines_hold_nowhere(self, remedied):
        (remedy,) = remedied({**REMEDY, "missed_deadlines": 1}).remedies
        assert (remedy.over, remedy.held) == (("deadlines",), False)

    def test_whose_power_is_not_known_do_not_hold_one(self, remedied):
        (remedy,) = remedied({**REMEDY, "average_uw": None}).remedies
        assert remedy.over == ("average_uw",)

    def test_of_unknown_onnx_size_are_over_as_the_build_found(self, remedied):
        (remedy,) = remedied({**REMEDY, "held": False, "over": ["onnx_bytes"]}).remedies
        assert remedy.over == ("onnx_bytes",)
        assert "onnx_bytes" not in remedy.to_dict()

    def test_of_known_onnx_size_are_held_to_it(self, remedied):
        row = {**REMEDY, "onnx_bytes": 61_000, "held": False, "over": ["onnx_bytes"]}
        report = remedied(row, onnx_bytes=61_000)
        assert report.remedies[0].held
        validator().validate(report.to_dict())
        assert remedied(row, onnx_bytes=60_999).remedies[0].over == ("onnx_bytes",)

    def test_what_holds_comes_first(self, remedied):
        rows = {**REMEDY, "change": "a"}, {**REMEDY, "change": "b", "flash_bytes": 90_000}
        assert [row.change for row in remedied(*rows, flash_bytes=95_000).remedies] == ["b", "a"]

    def test_are_absent_where_all_limits_hold(self, remedied):
        assert remedied(REMEDY).remedies
        assert remedied(REMEDY, core_load_percent=45).remedies == ()


class TestJson:
    def test_has_the_fields_of_the_contract(self, report):
        values = report.to_dict()
        assert values["schema"] == 3
        assert list(values["verdict"]) == BUDGETS
        assert list(values["accuracy"]) == COMPARISONS
        for comparison in values["accuracy"].values():
            assert list(comparison) == ["arousal", "dominance", "valence"]
        assert {"parameters", "onnx_bytes", "tflite_bytes", "weights_bytes", "flash_bytes"} <= set(
            values["size"]
        )
        assert {"static_bytes", "stack_bytes", "total_ram_bytes", "peak_layer"} <= set(values["memory"])
        wanted = {"cycles_per_second_of_audio", "instructions_per_second_of_audio", "cycles_per_mac"}
        assert wanted | {"worst_block_cycles", "core_load_percent", "layers"} <= set(values["latency"])
        assert {"average_uw", "battery_hours"} <= set(values["energy"])
        assert {"elements", "mismatches", "max_lsb"} <= set(values["parity"]["c-host"])
        assert {"edgekit", "artifacts", "params"} <= set(values["provenance"])

    def test_an_arena_is_shown_beside_its_bound(self, tmp_path, build_files, make_build):
        memory = assemble(make_build(tmp_path / "a", build_files), TARGET).memory
        assert memory.arena is None
        memory = build_files["codegen"]["memory.json"]
        build_files["codegen"]["memory.json"] = {**memory, "arena": arena()}
        figures = assemble(make_build(tmp_path / "b", build_files), TARGET).to_dict()["memory"]
        assert (figures["arena_size_bytes"]["value"], figures["arena_bound_bytes"]["value"]) == (1200, 1176)
        assert figures["arena"] == {name: arena()[name] for name in ("steps", "buffers")}

    def test_an_arena_of_an_older_build_is_said_so(self, tmp_path, build_files, make_build):
        build_files["codegen"]["memory.json"]["arena"] = {"size_bytes": 1200, "bound_bytes": 1176}
        with pytest.raises(ArtifactError, match=r"made by an older edgekit, without arena\.buffers"):
            assemble(make_build(tmp_path, build_files), TARGET)

    def test_battery_life_of_what_cannot_keep_up_is_undefined(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 101.0
        figure = assemble(make_build(tmp_path, build_files), TARGET).energy["battery_hours"]
        assert figure.value is None
        assert "cannot keep up" in figure.how

    def test_says_which_step_of_training_was_kept(self, report):
        assert report.accuracy["student_vs_teacher"]["arousal"].how == "40 test clips, step 15 of 20"

    def test_peak_layer_needs_most_state(self, report):
        assert report.to_dict()["memory"]["peak_layer"] == "l2"

    def test_every_figure_says_its_basis(self, report):
        values = report.to_dict()
        values["energy"].pop("assumptions")
        groups = [values["size"], values["energy"], *values["accuracy"].values()]
        for group in groups:
            for figure in group.values():
                assert set(figure) - {"interval"} == {"value", "basis", "how"}
                assert figure["basis"] in ("measured", "estimated")
                assert figure["how"]
        for row in [*values["verdict"].values(), *values["parity"].values(), *values["latency"]["layers"]]:
            assert row["basis"]

    def test_is_strict_json(self, report):
        text = json.dumps(report.to_dict(), allow_nan=False)
        assert json.loads(text)["accuracy"]["student_vs_teacher"]["valence"] == {
            "value": None,
            "basis": "measured",
            "how": "the teacher gave every clip the same value",
        }


class TestOlderBuilds:
    @pytest.mark.parametrize(
        ("stage", "file", "key"),
        [
            ("simulate", "profile.json", "schedule"),
            ("simulate", "profile.json", "timing.error"),
            ("quantize", "parity.json", "quantization_error"),
        ],
    )
    def test_say_what_to_do(self, tmp_path, build_files, make_build, stage, file, key):
        values = build_files[stage][file]
        *groups, name = key.split(".")
        for group in groups:
            values = values[group]
        del values[name]
        build = make_build(tmp_path, build_files)
        with pytest.raises(ArtifactError) as raised:
            assemble(build, TARGET)
        folder = build / STAGES[stage]
        assert raised.value.what == f"{folder / file}: made by an older edgekit, without {key}"
        assert raised.value.hint == f"remove {folder}, then run edgekit build again"


class TestTerminal:
    def test_fits_80_columns_and_says_what_matters(self, report):
        text = shown(report)
        assert max(map(len, text.splitlines())) <= 80
        assert "total RAM             pass    32,768 bytes    21,512 bytes   +34.4 %" in text
        assert "~20.0 %" in text
        assert "student vs teacher" in text
        assert "n/a" in text
        assert "All budgets held (~ estimated, all else measured)." in text

    def test_has_no_escape_codes_without_a_terminal(self, report):
        assert "\x1b" not in shown(report)

    def test_says_what_is_exceeded(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 45.0
        text = shown(assemble(make_build(tmp_path, build_files), TARGET))
        assert "core load             FAIL" in text
        assert "-50.0 %" in text
        assert "Over budget: core load" in text

    def test_verdicts_come_first_then_what_would_meet_them(self, tmp_path, build_files, make_build):
        never = {**REMEDY, "longest_result_ms": None, "flash_bytes": 147_457, "missed_deadlines": 1}
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 997
        build_files["alternatives"]["remedies.json"] = {"remedies": [REMEDY, never]}
        lines = shown(assemble(make_build(tmp_path, build_files), TARGET)).splitlines()
        assert lines[0] == "hearing-aid"
        assert "Budgets" in lines[:4]
        at = lines.index("What would meet the budgets")
        assert at < lines.index("Accuracy (CCC; 1 is perfect agreement) and what it costs")
        assert lines[at + 2].split() == [
            "hop",
            "128",
            "pass",
            "~29.0",
            "%",
            "20,000",
            "~500.0",
            "uW",
            "~3.50",
            "ms",
        ]
        assert lines[at + 3].endswith("never")
        assert lines[at + 4].rstrip() == "over: flash, deadlines"
        assert max(map(len, lines)) <= 80

    @pytest.mark.parametrize("width", [60, 40, 30])
    def test_narrow_ones_keep_verdicts_and_changes(self, tmp_path, build_files, make_build, width):
        profile = build_files["simulate"]["profile.json"]
        profile["schedule"]["missed_deadlines"] = 997
        change = "hop 128 and a window of 0.5 s every 0.8 s"
        row = {**REMEDY, "change": change, "flash_bytes": 150_000, "average_uw": 3_121.0}
        build_files["alternatives"]["remedies.json"] = {"remedies": [row]}
        lines = shown(assemble(make_build(tmp_path, build_files), TARGET), width=width).splitlines()
        at = lines.index("What would meet the budgets")
        verdicts, remedies = lines[: at - 1], lines[at + 1 : lines.index("", at)]
        assert sum(" pass" in line for line in verdicts) == 5
        assert sum(" FAIL" in line for line in verdicts) == 1
        assert " FAIL" in remedies[1]
        assert not any("…" in line for line in [*verdicts, *remedies])
        told = " ".join(" ".join(remedies[1:]).split())
        for word in (*change.split(), "over:", "flash,", "average", "power"):
            assert word in told
        assert ("~997" in "".join(verdicts)) == (width == 60)
        held = [line for line in lines if line.startswith(("onnx", "tflite", "c-host", "simulated-core"))]
        assert all(" pass" in line for line in held[:4])
        assert max(map(len, lines)) <= width

    def test_without_remedies_there_is_no_such_section(self, report):
        assert "What would meet" not in shown(report)

    def test_names_the_timing_profile_and_its_error(self, report):
        text = " ".join(shown(report).split())
        assert "Timing profile cortex-m33: error up to 10 %, 4 % on average. Known from: 12 boards" in text

    def test_an_uncalibrated_profile_gives_two_ends_of_each_layer(self, tmp_path, build_files, make_build):
        timing = build_files["simulate"]["profile.json"]["timing"]
        timing |= {"error": None, "cycles_are_upper_bound": True}
        lines = shown(assemble(make_build(tmp_path, build_files), TARGET)).splitlines()
        row = next(line for line in lines if line.startswith("spectrum") and "~" in line)
        assert row.split()[:3] == ["spectrum", "2,000,000", "~3,000,000"]
        assert max(map(len, lines)) <= 80

    def test_says_where_the_error_could_turn_a_verdict(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["latency"]["core_load_percent"] = 29.0
        text = shown(assemble(make_build(tmp_path, build_files), TARGET))
        assert "core load: the limit lies within the error (26.1 to 31.9 %)" in text

    def test_missed_deadlines_are_part_of_the_conclusion(self, tmp_path, build_files, make_build):
        build_files["simulate"]["profile.json"]["schedule"]["missed_deadlines"] = 997
        text = shown(assemble(make_build(tmp_path, build_files), TARGET))
        assert "missed deadlines      FAIL               0            ~997   997 over" in text
        conclusion = "Over budget: missed deadlines (997 of 1,000) (~ estimated, all else measured)."
        assert text.rstrip().splitlines()[-1] == conclusion

    def test_shows_the_first_blocks_and_when_they_are_due(self, report):
        rows = [line.split() for line in shown(report).splitlines()]
        assert ["1", "4.0", "4.0", "7.0", "8.0", "in", "time"] in rows
        assert ["2", "8.0", "8.0", "13.0", "12.0", "late"] in rows

    def test_shows_some_of_the_learning_curve(self, tmp_path, build_files, make_build):
        head, *_ = build_files["distill"]["history.csv"].splitlines()
        steps = "".join(f"{step},0.1,0.5,0.1,0.2,0.3\n" for step in range(0, 1001, 10))
        build_files["distill"]["history.csv"] = f"{head}\n{steps}"
        lines = shown(assemble(make_build(tmp_path, build_files), TARGET)).splitlines()
        at = lines.index("Learning curve; step 15 was kept")
        shown_steps = [line.split()[0] for line in lines[at + 2 : at + 8]]
        assert shown_steps == ["0", "200", "400", "600", "800", "1,000"]
        assert not lines[at + 8].strip()

    def test_sums_up_the_smaller_symbols(self, report):
        assert "15 more" in shown(report)

    def test_bars_are_in_proportion_and_plain_where_the_terminal_is(self, report):
        text = shown(report, "ascii")
        bars = [line.split()[-1] for line in text.splitlines() if "#" in line]
        cycles = bars[:2]
        assert [len(bar) for bar in cycles] == [round(20 * 3 / 7), 20]
