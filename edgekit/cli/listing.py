"""`edgekit targets`, `teachers` and `students`: what there is to choose from."""

import dataclasses
import json
import math

import click

from edgekit.cli import options


@click.group(invoke_without_command=True)
@options.json_option
@click.pass_context
def targets(context: click.Context, as_json: bool) -> None:
    """List the devices that can be built for."""
    if context.invoked_subcommand is None:
        _list_targets(as_json)


@targets.command("list")
@options.json_option
def list_command(as_json: bool) -> None:
    """List the devices that can be built for."""
    _list_targets(as_json)


def _list_targets(as_json: bool) -> None:
    from edgekit.targets import list_targets, load_target

    found = [load_target(name) for name in list_targets()]
    _print_names({target.name: target.description for target in found}, as_json)


@targets.command()
@click.argument("name", metavar="NAME|FILE")
@options.json_option
def show(name: str, as_json: bool) -> None:
    """Show everything that edgekit knows about a device, with the source of its numbers."""
    from edgekit.targets import load_target

    values = dataclasses.asdict(load_target(name))
    if as_json:
        options.print_json(values)
        return
    click.echo(f"{values.pop('name')}: {values.pop('description')}")
    for section, entries in values.items():
        if entries is None:
            continue
        click.echo(f"\n[{section}]")
        for key, value in entries.items():
            if value is not None:
                click.echo(f"{key} = {_shown(key, value)}")


def _shown(key: str, value: object) -> str:
    if key.endswith("_origin"):
        return f"0x{value:08x}"
    return f"{value:_}" if type(value) is int else json.dumps(value, ensure_ascii=False)


@click.command()
@options.json_option
def teachers(as_json: bool) -> None:
    """List the models that can label audio.

    With their size, their licence, where they come from, and whether they are here.
    """
    from wavllm_teacher.listing import teacher_table

    table = teacher_table()
    if as_json:
        options.print_json(table)
        return
    head = _teacher_line("teacher", "parameters", "size", "here", "licence")
    click.echo(click.style(head, bold=True))
    for name, row in table.items():
        sizes = _short(row["parameters"], ""), _short(row["bytes"], "B")
        click.echo(_teacher_line(name, *sizes, row["where"], row["licence"]))
    for name, row in table.items():
        click.echo(f"\n{name}: {row['what']}\n  from: {row['origin']}")
        if row["terms"]:
            click.echo(f"  licence: {row['licence']}; {row['terms']}")
        for command in () if row["present"] else row["get"]:
            click.echo(f"  to get it: {command}")


def _teacher_line(name: str, parameters: str, size: str, here: str, licence: str) -> str:
    return f"{name:<12}  {parameters:>10}  {size:>8}  {here:<12}  {licence}"


def _short(count: int | None, unit: str) -> str:
    """Return a count in thousands, millions or billions, to three digits.

    Example:
        >>> _short(1_198_548, ""), _short(1_274_428_172, "B"), _short(None, "")
        ('1.20 M', '1.27 GB', 'varies')
    """
    if count is None:
        return "varies"
    value, prefix = next(
        (count / scale, p) for scale, p in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if count >= scale
    )
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{digits}f} {prefix}{unit}"


@click.command()
@options.json_option
def students(as_json: bool) -> None:
    """List the networks that can learn the labels."""
    from distill.registry import shipped_variants, student_names

    shipped = shipped_variants()
    trained = {
        name: [v.removeprefix(f"{name}-") for v in shipped if v.startswith(f"{name}-")]
        for name in student_names()
    }
    _print_names(
        {
            name: f"trained: {', '.join(found)}" if found else "not trained: use --from-scratch"
            for name, found in trained.items()
        },
        as_json,
    )


def _print_names(descriptions: dict[str, str], as_json: bool) -> None:
    if as_json:
        options.print_json(descriptions)
        return
    width = max(map(len, descriptions))
    for name, description in descriptions.items():
        click.echo(f"{name:<{width}}  {description}")
