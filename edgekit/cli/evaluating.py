"""`edgekit evaluate`: how well labels agree with a reference."""

from pathlib import Path

import click

from edgekit.cli import options

LEAST_RESAMPLES = 100


@click.command()
@click.argument("labels", type=options.PATH)
@click.option(
    "--reference",
    type=options.PATH,
    required=True,
    metavar="FILE",
    help="Table (csv, jsonl, parquet) of files with arousal, dominance and valence from 0 to 1, or the "
    "consensus table of MSP-Podcast.",
)
@click.option(
    "--by", multiple=True, metavar="COLUMN", help="Column of the reference to group by; may be repeated."
)
@click.option("--split", metavar="NAME", help="Only this split, such as test or Test1.  [default: all]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the resampling.")
@click.option(
    "--resamples",
    type=click.IntRange(LEAST_RESAMPLES),
    default=2000,
    show_default=True,
    metavar="N",
    help="How often the speakers are drawn again for the intervals.",
)
@options.json_option
def evaluate(
    labels: Path,
    reference: Path,
    by: tuple[str, ...],
    split: str | None,
    seed: int,
    resamples: int,
    as_json: bool,
) -> None:
    """Compare labels with a reference.

    LABELS is a folder that edgekit label wrote; its audio need not be there. Shows CCC, Pearson and RMSE per
    dimension with 95 % intervals: overall, per corpus, split and gender, and per COLUMN.
    """
    from edgekit import evaluation
    from edgekit.evaluation import presenting
    from edgekit.labels import read_labels

    table = evaluation.read_reference(reference)
    found = evaluation.evaluate(read_labels(labels), table, by, split, resamples, seed)
    if as_json:
        options.print_json(presenting.to_dict(found))
        return
    from rich.console import Console

    Console(highlight=False).print(presenting.render(found))
