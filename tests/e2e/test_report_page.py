"""The report's page in a browser: phone and desktop, light and dark."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from builds import stage_files, write_build
from chromium import Chromium, Tab, find_chromium

from edgekit.report import assemble
from edgekit.report.diff import compare_reports
from edgekit.report.page import render_page
from edgekit.targets import load_target

PROGRAM = find_chromium()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed (apt install chromium)")

SIZES = {"phone": (360, 740), "desktop": (1280, 900)}
SCHEMES = ("light", "dark")
A4 = (718, 1047)
"""Without the margins of a printer, in CSS pixels."""
CHECKS = (Path(__file__).parent / "report_page.js").read_text(encoding="utf-8")
BREAKS = {
    "scrolls_sideways": "section { width: 2000px }",
    "hidden_headings": "#energy h2 { visibility: hidden }",
    "faint_text": "p { color: #888 }",
    "empty_charts": ".lanes { display: none }",
    "escaping_text": "h3 { width: 2em; white-space: nowrap }",
    "escaping_boxes": ".scroll { margin-right: -5em }",
    "overlapping_marks": ".axis > span { left: 50% !important }",
}
"""Style that each check must find."""


def rich_build(folder: Path, *, whole: bool) -> Path:
    """Write a build whose report has every section: what is exceeded, uncertain, late and long."""
    files = stage_files()
    profile = files["simulate"]["profile.json"]
    profile["latency"]["core_load_percent"] = 29.0
    profile["energy"]["average_uw"] = 3_120.8
    profile["memory"]["symbols"][0]["name"] = "a_variable_of_a_library_whose_name_is_longer_than_most_screens"
    profile["schedule"]["missed_deadlines"] = 997
    files["alternatives"]["remedies.json"]["remedies"] = [
        {
            "change": "hop 128 and a window of 0.5 s every 0.8 s",
            "core_load_percent": 27.4,
            "total_ram_bytes": 22_128,
            "longest_result_ms": None,
            "missed_deadlines": 975,
            "average_uw": 476.7,
            "flash_bytes": 133_544,
            "held": False,
            "over": ["flash_bytes", "core_load_percent", "deadlines"],
            "how": "5,504 bytes of audio wait at worst; student follows teacher by 0.58 / 0.31 / 0.42",
        }
    ]
    profile["layers"] += [{"name": f"layer_{i}", "instructions": 10**6, "cycles": 10**9} for i in range(30)]
    if whole:
        state = files["codegen"]["memory.json"]["state_bytes_by_layer"]
        ops = [{"name": f"layer_{i}", "kind": "conv2d"} for i in range(30)]
        files["quantize"]["graph.json"]["ops"] += ops
        state |= {op["name"]: 400 * (i % 7 + 1) for i, op in enumerate(ops)}
        files["codegen"]["memory.json"]["arena"] = arena([op["name"] for op in ops])
    return write_build(folder, files)


def arena(layers: list[str]) -> dict[str, object]:
    """Return buffers of layers, one beside the next, and scratch memory above them."""
    buffers = [
        {
            "name": f"{layer}_out",
            "offset_bytes": 1_000 * (i % 2),
            "lives": [{"first_step": i, "last_step": i + 1, "size_bytes": 1_000}],
        }
        for i, layer in enumerate(layers)
    ]
    lives = [{"first_step": 3, "last_step": 3, "size_bytes": 800}]
    scratch = {"name": "layer_3:scratch", "offset_bytes": 2_000, "lives": lives}
    sizes = {"size_bytes": 2_900, "bound_bytes": 2_800}
    return {**sizes, "steps": [*layers, "results"], "buffers": [*buffers, scratch]}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network that streams, with changes since another build, and one that runs whole."""
    folder, target = tmp_path_factory.mktemp("pages"), load_target("hearing-aid")
    before = assemble(write_build(folder / "before", stage_files()), target)
    found = {}
    for name in ("stream", "whole"):
        report = assemble(rich_build(folder / name, whole=name == "whole"), target)
        diff = compare_reports(before.to_dict(), report.to_dict()) if name == "stream" else None
        found[name] = folder / f"{name}.html"
        found[name].write_text(render_page(report, diff), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    assert PROGRAM is not None
    browser = Chromium(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=["stream", "whole"])
def page(request: pytest.FixtureRequest, pages: dict[str, Path]) -> Path:
    return pages[request.param]


@pytest.fixture(scope="module", params=[f"{size}-{scheme}" for size in SIZES for scheme in SCHEMES])
def tab(request: pytest.FixtureRequest, browser: Chromium, page: Path) -> Iterator[Tab]:
    size, scheme = request.param.split("-")
    tab = Tab(browser, page.as_uri(), SIZES[size], scheme)
    yield tab
    tab.close()


def test_asks_for_nothing_but_itself_and_complains_about_nothing(tab, page):
    assert tab.requests() == [page.as_uri()]
    assert tab.errors() == []


def test_looks_right(tab):
    assert tab.evaluate(CHECKS) == {check: [] for check in BREAKS}


def test_follows_the_colour_scheme(browser, pages):
    found = []
    for scheme in SCHEMES:
        tab = Tab(browser, pages["stream"].as_uri(), SIZES["phone"], scheme)
        found.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        tab.close()
    assert found == ["rgb(245, 246, 247)", "rgb(17, 20, 23)"]


def test_prints_on_a_page(browser, page):
    tab = Tab(browser, page.as_uri(), A4, "dark")
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate("document.documentElement.scrollWidth") <= A4[0]
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.close()


@pytest.mark.parametrize("check", BREAKS)
def test_each_check_finds_what_it_looks_for(browser, pages, check):
    tab = Tab(browser, pages["stream"].as_uri(), SIZES["phone"], "light")
    tab.evaluate("void document.head.append(document.createElement('style'))")
    tab.evaluate(f"void (document.head.lastChild.textContent = {json.dumps(BREAKS[check])})")
    assert tab.evaluate(CHECKS)[check]
    tab.close()


def test_requests_and_errors_are_noticed(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>x</title><img src='none.png'><script>console.error('x')</script>")
    tab = Tab(browser, page.as_uri(), SIZES["desktop"], "light")
    assert tab.requests() == [page.as_uri(), page.with_name("none.png").as_uri()]
    assert len(tab.errors()) == 2
    tab.close()
