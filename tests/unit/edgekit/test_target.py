from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TargetError
from edgekit.target import Target
from edgekit.targets import TARGETS, list_targets, load_target


def own(tmp_path: Path, old: str = "", new: str = "") -> Path:
    """Write a copy of the hearing-aid target with one text replaced."""
    text = (TARGETS / "hearing-aid.toml").read_text().replace('name = "hearing-aid"', 'name = "own"')
    assert old in text
    file = tmp_path / "own.toml"
    file.write_text(text.replace(old, new, 1))
    return file


@pytest.mark.parametrize("name", list_targets())
def test_shipped_targets_load_and_name_sources(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    sections = (target.core, target.timing, target.memory, target.audio, target.policy, target.budget)
    for section in (*sections, *([target.power] if target.power else [])):
        assert len(section.source) > 10


def test_hearing_aid_has_the_published_figures() -> None:
    target = load_target("hearing-aid")
    assert (target.core.cpu, target.core.dsp, target.core.fpu) == ("cortex-m33", True, False)
    assert (target.core.clock_hz, target.power.active_uw_per_mhz) == (50_000_000, 34.8)
    assert (target.budget.total_ram_bytes, target.budget.onnx_bytes) == (32_768, 60_000)


def test_instructions_follow_from_the_core() -> None:
    m55, m33 = load_target("corstone-300").core, load_target("hearing-aid").core
    assert [core.instructions for core in (m55, m33, replace(m33, dsp=False))] == ["mve", "dsp", "portable"]
    host = load_target("host").core
    assert [core.simulator for core in (m55, m33, host)] == ["qemu", "unicorn", "native"]
    assert host.instructions == "portable"
    with pytest.raises(TargetError, match="host has no DSP"):
        replace(host, dsp=True)
    with pytest.raises(TargetError, match="cortex-m33 has no MVE"):
        replace(m33, mve=True)


def test_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(TargetError) as caught:
        load_target("hearing-ait")
    assert "did you mean 'hearing-aid'" in caught.value.what
    assert "nucleo-l4r5zi" in caught.value.what
    assert "edgekit targets" in caught.value.hint
    assert caught.value.exit_code == 3


def test_own_file_by_path(tmp_path: Path) -> None:
    assert load_target(str(own(tmp_path))) == replace(load_target("hearing-aid"), name="own")
    with pytest.raises(TargetError, match="no such target file"):
        load_target(str(tmp_path / "missing.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("clock_hz", "clock_khz", "unknown key core.clock_khz; did you mean 'clock_hz'"),
        ("clock_hz = 50_000_000\n", "", "missing key core.clock_hz"),
        ("[power]", "[powers]", "unknown key powers"),
        ("dsp = true", "dsp = 1", "core.dsp = 1 is not a bool"),
        ("clock_hz = 50_000_000", "clock_hz = true", "core.clock_hz = True is not a int"),
        ("clock_hz = 50_000_000", "clock_hz = 50e6", "core.clock_hz"),
        ("clock_hz = 50_000_000", "clock_hz = 0", "clock_hz = 0 is not positive"),
        ('cpu = "cortex-m33"', 'cpu = "cortex-m0"', "cortex-m0 has no DSP"),
        ('cpu = "cortex-m33"', 'cpu = "cortex-m99"', "not a supported core"),
        ("flash_bytes = 262_144", "flash_bytes = 262_145", "not a multiple of 4096"),
        ("ram_origin = 0x2000_0000", "ram_origin = 0x1000_1000", "overlap"),
        ("ram_origin = 0x2000_0000", "ram_origin = 0xFFFF_F000", "beyond 32-bit"),
        ("stack_bytes = 8_192", "stack_bytes = 131_072", "stack fills"),
        ("stack_bytes = 8_192", "stack_bytes = 8_190", "multiple of 8"),
        ("core_share_percent = 30.0", "core_share_percent = 101", "above 100"),
        ("worst_error_percent = 4.7", "fetch_wait_cycles = -1", "fetch_wait_cycles = -1.0 is negative"),
        ("worst_error_percent = 4.7\n", "", "worst_error_percent and mean_error_percent"),
        (
            "worst_error_percent = 4.7",
            'worst_error_percent = "5"',
            "worst_error_percent = '5' is not a float",
        ),
        (
            "worst_error_percent = 4.7",
            "worst_error_percent = 4.6",
            "a mean error of 4.7 % and a worst of 4.6 %",
        ),
        ("buffer_blocks = 4", "buffer_blocks = 4\nwindow_s = 1", "has no windows"),
        ("core_share_percent = 30.0", "core_share_percent = inf", "is not positive"),
        ("battery_mwh = 234.0", "battery_mwh = inf", "battery_mwh = inf is not positive"),
        ('table = "cortex-m33"', 'table = "cortex-m4"', "is not the table of a cortex-m33"),
        (
            "flash_origin = 0x1000_0000",
            "flash_origin = 0x4000_0000",
            "flash lies where a Cortex-M has its devices",
        ),
        ('mode = "continuous"', 'mode = "always"', "mode = 'always' is not a policy"),
        ('mode = "continuous"', 'mode = "continuous"\nwindow_s = 2', "has no windows"),
        ('mode = "continuous"', 'mode = "window"\nwindow_s = 2', "every_s = 0.0 is not positive"),
        ('mode = "continuous"', 'mode = "window"\nwindow_s = 2\nevery_s = 1', "windows overlap"),
        ("buffer_blocks = 4", "buffer_blocks = 0", "buffer_blocks = 0 is not positive"),
        ("battery_mwh = 234.0", "battery_mwh = -1", "not positive"),
        ("total_ram_bytes = 32_768", "total_ram_bytes = 199_999", "memory has 131072"),
        ("average_uw = 522.0", "average_uw = 0", "not positive"),
        ('table = "cortex-m33"', 'table = "host"', "measured on this computer, not for a cortex-m33"),
        ('name = "own"', 'name = "other"', "differs from the file's name"),
        ('name = "own"', "name = ", "not readable as TOML"),
        ('name = "own"', 'name = "own"\ninherits = 3', "inherits is not a string"),
        ('name = "own"', 'name = "own"\ninherits = "own.toml"', "inherits from itself"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        load_target(str(own(tmp_path, old, new)))
    assert message in caught.value.what
    assert caught.value.hint


def test_a_target_without_power_has_no_budget_for_it() -> None:
    host = load_target("host")
    assert (host.power, host.budget.average_uw) == (None, None)
    device = load_target("hearing-aid")
    with pytest.raises(TargetError, match=r"budget\.average_uw needs a power"):
        replace(device, power=None)
    with pytest.raises(TargetError, match="its power is not known"):
        replace(host, power=device.power)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("timing", {"table": "cortex-m4"}, "timing.table = 'cortex-m4'"),
        ("timing", {"fetch_wait_cycles": 1.0}, "without waits or errors"),
        ("timing", {"worst_error_percent": 1.0, "mean_error_percent": 1.0}, "without waits or errors"),
        ("core", {"clock_hz": 3_000_000_000}, "clock_hz = 3000000000"),
    ],
)
def test_on_this_computer_cycles_are_measured_nanoseconds(
    section: str, change: dict[str, object], message: str
) -> None:
    host = load_target("host")
    with pytest.raises(TargetError, match="a cycle is a nanosecond") as caught:
        replace(host, **{section: replace(getattr(host, section), **change)})
    assert message in caught.value.what
    assert caught.value.hint


def test_waits_are_only_for_cores_that_count_them() -> None:
    m55 = load_target("corstone-300")
    with pytest.raises(TargetError, match="waits are not counted on a cortex-m55"):
        replace(m55, timing=replace(m55.timing, fetch_wait_cycles=1.0))


def test_names_are_file_names() -> None:
    with pytest.raises(TargetError, match="not a target name"):
        replace(load_target("hearing-aid"), name="Hearing Aid")


def test_whole_numbers_may_stand_for_fractions(tmp_path: Path) -> None:
    share = load_target(str(own(tmp_path, "core_share_percent = 30.0", "core_share_percent = 30")))
    assert isinstance(share.audio.core_share_percent, float)


def test_inheritance_replaces_single_values(tmp_path: Path) -> None:
    (tmp_path / "fast.toml").write_text(
        'inherits = "hearing-aid"\nname = "fast"\n[core]\nclock_hz = 100_000_000\n'
    )
    (tmp_path / "faster.toml").write_text(
        'inherits = "fast.toml"\nname = "faster"\n[core]\nclock_hz = 200_000_000\n'
    )
    parent, child = load_target("hearing-aid"), load_target(str(tmp_path / "faster.toml"))
    assert child.core == replace(parent.core, clock_hz=200_000_000)
    assert child.memory == parent.memory


def test_a_timing_and_a_policy_are_inherited_as_a_whole(tmp_path: Path) -> None:
    timing = '[timing]\ntable = "cortex-m33"\nsource = "nobody has measured"\n'
    policy = '[policy]\nmode = "window"\nwindow_s = 2\nevery_s = 10\nbuffer_blocks = 500\nsource = "chosen"\n'
    (tmp_path / "other.toml").write_text(f'inherits = "hearing-aid"\nname = "other"\n{timing}{policy}')
    (tmp_path / "back.toml").write_text(
        'inherits = "other.toml"\nname = "back"\n'
        '[policy]\nmode = "continuous"\nbuffer_blocks = 2\nsource = "chosen"\n'
    )
    other, back = (load_target(str(tmp_path / f"{name}.toml")) for name in ("other", "back"))
    assert load_target("hearing-aid").timing.worst_error_percent is not None
    assert other.timing.worst_error_percent is None
    assert (other.policy.window_s, back.policy.window_s, back.timing) == (2.0, 0.0, other.timing)


def test_digest_follows_every_value() -> None:
    target = load_target("hearing-aid")
    changed: Target = replace(target, power=replace(target.power, battery_mwh=235.0))
    assert target.digest == load_target("hearing-aid").digest
    assert changed.digest != target.digest
    assert len(target.digest) == 64
