"""Cycles, load, schedule and energy of a build, with the error of the timing profile on each estimate."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.graph import FRONT_END_KINDS
from edgekit.report.figures import Figure, Interval
from edgekit.report.rows import Block, InTime, LayerCost, Part, Schedule, Timing, TimingError
from edgekit.target import Target

Values = Mapping[str, Any]
START_UP = "start-up"
"""The simulator's row of what is done once, before there is any audio."""


def timing_of(profile: Values) -> Timing:
    """Return the timing profile that the simulator used."""
    values = profile["timing"]
    return Timing(
        table=values["table"],
        source=values["source"],
        fetch_wait_cycles=values["fetch_wait_cycles"],
        data_wait_cycles=values["data_wait_cycles"],
        error=TimingError(**values["error"]) if values["error"] else None,
        cycles_are_upper_bound=values["cycles_are_upper_bound"],
        cycles_basis=values["basis"]["cycles"],
    )


def schedule_of(profile: Values) -> Schedule:
    """Return when the core works on what it hears."""
    values = profile["schedule"]
    ran = values["in_time"]
    parts = {
        "timeline": tuple(Block(**block) for block in values["timeline"]),
        "in_time": InTime(**ran) if ran else None,
    }
    return Schedule(**{**values, **parts})


def latency_of(profile: Values, timing: Timing, target: Target) -> dict[str, Figure]:
    """Return cycles, instructions and load of the whole model."""
    values, schedule, spread = profile["latency"], profile["schedule"], _spread(profile, timing)
    sources = {"cycles_per_second_of_audio": timing.how, "core_load_percent": "cycles of the model / clock"}
    totals = {
        name: Figure(values[name], timing.cycles_basis, how, _scaled(values[name], spread))
        for name, how in sources.items()
    }
    return {
        "instructions_per_second_of_audio": _instructions(values),
        **totals,
        "worst_block_cycles": _worst_block(profile, timing, target),
        "cycles_per_mac": _cycles_per_mac(profile, timing),
        "audio_path_load_percent": Figure(
            schedule["audio_path_load_percent"], "estimated", "as the target file states"
        ),
        "total_load_percent": _total_load(schedule, spread),
        "longest_result_ms": _longest_result(schedule),
    }


def missed_deadlines_of(profile: Values, timing: Timing) -> Figure:
    """Return how many blocks of audio are late: as certain as the cycles that make them so."""
    schedule = schedule_of(profile)
    how = f"of {schedule.blocks:,} blocks of audio laid out in time"
    if schedule.in_time is not None:
        how += f", and of {schedule.in_time.blocks:,} run in time"
    return Figure(schedule.late_blocks, timing.cycles_basis, how)


def _instructions(latency: Values) -> Figure:
    value = latency["instructions_per_second_of_audio"]
    how = "counted on the simulated core" if value is not None else "not counted on this computer itself"
    return Figure(value, "measured", how)


def _spread(profile: Values, timing: Timing) -> Interval | None:
    values = profile["latency"]
    return timing.factors(values["instructions_per_second_of_audio"], values["cycles_per_second_of_audio"])


def _scaled(value: float, factors: Interval | None) -> Interval | None:
    return (value * factors[0], value * factors[1]) if factors else None


def _worst_block(profile: Values, timing: Timing, target: Target) -> Figure:
    source = timing.how if timing.cycles_basis == "measured" else f"timing profile {timing.table}"
    how = f"{source}, {target.audio.block_samples} samples a block"
    value = profile["latency"]["worst_block_cycles"]
    # What its instructions alone would take is not known: of an upper bound there is no other end.
    spread = None if timing.error is None else _spread(profile, timing)
    return Figure(value, timing.cycles_basis, how, _scaled(value, spread))


def _cycles_per_mac(profile: Values, timing: Timing) -> Figure:
    counted = [row for row in profile["layers"] if row.get("macs")]
    cycles, macs = (sum(row[k] for row in counted) for k in ("cycles", "macs"))
    instructions = None if timing.cycles_basis == "measured" else sum(row["instructions"] for row in counted)
    value, spread = cycles / max(1, macs), timing.factors(instructions, cycles or 1)
    which = "all layers, start-up too" if instructions is None else "layers that multiply"
    return Figure(value, timing.cycles_basis, f"{timing.how}; {which}", _scaled(value, spread))


def _total_load(schedule: Values, spread: Interval | None) -> Figure:
    model, audio = _scaled(schedule["model_load_percent"], spread), schedule["audio_path_load_percent"]
    interval = (audio + model[0], audio + model[1]) if model else None
    return Figure(schedule["total_load_percent"], "estimated", "model and audio path", interval)


def _longest_result(schedule: Values) -> Figure:
    after = "window" if schedule["policy"] == "window" else "block"
    how = f"from the end of a {after} to its A/D/V, audio path first"
    if schedule["longest_result_ms"] is None:
        how = "the core never catches up"
    return Figure(schedule["longest_result_ms"], "estimated", how)


def layers_of(profile: Values, timing: Timing, ops: Sequence[Values]) -> tuple[LayerCost, ...]:
    """Return what each layer costs for a second of audio: in the graph's order, then what is around it.

    Args:
        profile: Of the simulated run.
        timing: Its timing profile.
        ops: The operators of the integer graph.
    """
    seconds = profile["audio"]["duration_s"]
    order = {op["name"]: place for place, op in enumerate(ops)}
    parts: dict[str, Part] = {op["name"]: _part(op["kind"]) for op in ops}
    if timing.cycles_basis == "measured":
        parts = {row["name"]: "all" for row in profile["layers"]}
    repeated = [row for row in profile["layers"] if row["name"] != START_UP]
    rows = sorted(repeated, key=lambda row: order.get(row["name"], len(order)))
    return tuple(
        LayerCost(
            layer=row["name"],
            part=parts.get(row["name"], "around"),
            instructions_per_second_of_audio=_per(row["instructions"], seconds),
            cycles_per_second_of_audio=row["cycles"] / seconds,
            cycles_basis=timing.cycles_basis,
            macs_per_second_of_audio=row["macs"] / seconds if "macs" in row else None,
            interval=_scaled(
                row["cycles"] / seconds, timing.factors(row["instructions"], row["cycles"] or 1)
            ),
        )
        for row in rows
    )


def _per(count: float | None, seconds: float) -> float | None:
    return None if count is None else count / seconds


def _part(kind: str) -> Part:
    return "front end" if kind in FRONT_END_KINDS else "network"


def energy_of(profile: Values, timing: Timing, target: Target) -> dict[str, Figure]:
    """Return power and battery life."""
    power, values, spread = target.power, profile["energy"], _spread(profile, timing)
    if power is None:
        unknown = Figure(None, "estimated", f"the power of target {target.name} is not known")
        return {"average_uw": unknown, "battery_hours": unknown}
    how = f"load x clock x {power.active_uw_per_mhz:g} uW/MHz"
    average = Figure(values["average_uw"], "estimated", how, _scaled(values["average_uw"], spread))
    return {"average_uw": average, "battery_hours": _battery(profile, spread, power.battery_mwh)}


def _battery(profile: Values, spread: Interval | None, battery_mwh: float) -> Figure:
    if profile["latency"]["core_load_percent"] > 100:
        return Figure(None, "estimated", "the core cannot keep up: load above 100 %")
    hours = profile["energy"]["battery_hours"]
    interval = (hours / spread[1], hours / spread[0]) if spread and spread[0] else None
    return Figure(hours, "estimated", f"{battery_mwh:g} mWh spent on the model alone", interval)


def energy_assumptions(profile: Values, target: Target) -> dict[str, float | str]:
    """Return what power and battery life rest on; nothing where they are not known."""
    if target.power is None:
        return {}
    return {
        "clock_hz": target.core.clock_hz,
        "core_load_percent": profile["latency"]["core_load_percent"],
        "active_uw_per_mhz": target.power.active_uw_per_mhz,
        "battery_mwh": target.power.battery_mwh,
        "source": target.power.source,
        "counted": "the core while it works on the model",
        "not_counted": "the audio path, sleep and leakage, radio, microphones, receiver",
    }
