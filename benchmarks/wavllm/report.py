"""What the speech language model learned as Markdown; no figure is typed here but the bars."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.tables import line
from benchmarks.wavllm import answers, scales, tasks, tiny
from benchmarks.wavllm.sounds import DRIFT
from wavllm_teacher.speech_llm.figures import PAPER, TITLES

SINGLE_BAR, COMBINED_BAR, STAGE_ONE_BAR, MINUTES_BAR = 0.95, 0.90, 0.5, 20
Results = Mapping[str, Any]
EARLIER = "tiny, 150 items"
"""Where an earlier draw of held-out items is kept."""
Shares = Mapping[str, float]
FORM = ("instruction_following", "part_accuracy")
"""What is told of combined answers beside those that are wholly right."""


def markdown(found: Results) -> str:
    """Return the page: a section for each part that was measured.

    Args:
        found: Name of a part to what it gave.
    """
    lines = [
        "# WavLLM: what it learns",
        "",
        *_paragraph(
            """Written by `python -m benchmarks.wavllm`; every figure but the bars was measured, and is kept
            in [wavllm.json](wavllm.json).
            """
        ),
    ]
    for name, section in SECTIONS.items():
        if name in found:
            lines += [*section(found), ""]
    return "\n".join([*lines, *_paper(found)])


def combined_mean(shares: Shares) -> float:
    """Return the mean over the combined forms: what arms are compared by."""
    return float(np.mean([shares[name] for name in tasks.COMBINED]))


def _paragraph(text: str) -> list[str]:
    return [answers.filled(text), ""]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [line(head), line(["---", *["---:"] * (len(head) - 1)]), *map(line, rows), ""]


def _tiny(found: Results, earlier: Results | None) -> list[str]:
    arms: dict[str, dict[str, Shares]] = {
        arm: {seed: run["shares"] for seed, run in runs.items()} for arm, runs in found["combined"].items()
    }
    first = found["single"]["shares"]
    lines = [*_introduction(), *_single(first, arms), *_combined(found), *_comparison(found, earlier)]
    return [*lines, *_losses(found), *_time(found)]


def _introduction() -> list[str]:
    shape, recipe = tiny.SHAPE, tiny.FULL
    return [
        "## A tiny model, from nothing",
        "",
        *_paragraph(
            f"""Encoders of 2 layers, a decoder of {shape.decoder.layers} layers and width
            {shape.decoder.width}, byte tokens, corrections of rank {shape.lora.rank}. A clip is one to
            three bursts of a tone, of edgekit's own speech or of noise, short or long; the tone is low,
            middle or high; levels differ, and there is some noise. {recipe.clips["train"]} clips are
            trained on, {recipe.clips["test"]} are held out: middle frequencies of their tones, durations,
            pauses and voices are never trained (tones drift by up to {max(DRIFT) - 1:.0%}, so that those of
            both touch; voices say the same texts). An answer counts if it is exactly the wanted text.
            """
        ),
        *_paragraph(
            f"""WavLLM's encoders and decoder are frozen because they were trained before; so are these. The
            encoders learn to tell spectrum, pitch, periodicity and brightness around each frame of the
            training clips, without labels ({recipe.encoder_steps} steps). The decoder is a plain language
            model of prompts on written notes, as `two long tone low`: one question on each, to repeat it, or
            to list two things ("pitch; count?"), but in no wording of a combined instruction
            ({recipe.decoder_steps} steps of {recipe.decoder_batch} texts). Stage one learns single tasks
            ({recipe.single.steps} steps of {recipe.single.batch}). Stage two learns combined ones and keeps
            single ones ({recipe.combined.steps} steps of {recipe.combined.batch}).
            """
        ),
    ]


def _single(first: Shares, arms: Mapping[str, Mapping[str, Shares]]) -> list[str]:
    rows = [
        [task, *(f"{value:.3f}" for value in (first[task], *(_mean(runs, task) for runs in arms.values())))]
        for task in tasks.SINGLE
    ]
    head = ["single task", "after stage one", *(f"after stage two, {arm}" for arm in arms)]
    worst = min(first[task] for task in tasks.SINGLE)
    return [
        *_table(head, rows),
        *_paragraph(f"The worst single task after stage one: {worst:.3f}; the bar is {SINGLE_BAR:.2f}."),
    ]


def _combined(found: Results) -> list[str]:
    runs = [found["single"], *(run for arm in found["combined"].values() for run in arm.values())]
    everyone: list[Shares] = [run["shares"] for run in runs]
    rows = [
        [task, *(f"{shares[task]:.3f}" for shares in everyone)] for task in (*tasks.COMBINED, *tasks.UNSEEN)
    ]
    pairing, wording = (
        " with ".join(sorted(tasks.UNSEEN_PAIR)),
        tasks.UNSEEN_PAIRED[0].format("pitch", "count"),
    )
    rows.append(["**mean of the first four**", *(f"**{combined_mean(shares):.3f}**" for shares in everyone)])
    rows += [
        [f"{TITLES[name]}, all four", *(f"{run['combined'][name]:.3f}" for run in runs)] for name in FORM
    ]
    return [
        *_paragraph(
            f"""Combined instructions: `pairs` ("Name the pitch and the count.", answered "high; two"),
            `reversed` ("Name the pitch after the count."), `steps` ("First the pitch, then the count, step
            by step.", answered "pitch: high; count: two"), `triples`. Never trained: {pairing}, and the
            wording "{wording}" An answer follows its instruction if it has all parts that are asked for, in
            the order and form asked, right or wrong ([how](../docs/wavllm.md#evaluating)).
            """
        ),
        *_table(
            ["", "stage one", *(f"{arm}, seed {n}" for arm, all_ in found["combined"].items() for n in all_)],
            rows,
        ),
    ]


def _comparison(found: Results, earlier: Results | None) -> list[str]:
    arms = {arm: [run["shares"] for run in runs.values()] for arm, runs in found["combined"].items()}
    plain, aware = ([combined_mean(shares) for shares in arms[arm]] for arm in ("plain", "prompt-aware"))
    first, unseen = found["single"]["shares"], (tasks.UNSEEN[0], tasks.UNSEEN[1])
    pairing, wording = (
        " and ".join(f"{np.mean([shares[name] for shares in runs]):.3f}" for runs in arms.values())
        for name in unseen
    )
    return [
        *_paragraph(
            """Plain: the adapters of stage one are trained on. Prompt-aware: the same with a prompt adapter.
            Stage one, steps, batches and learning rate are the same. What is compared was declared with the
            benchmark: the mean of the four trained forms after the last step. Settings were chosen later, on
            other clips and another seed.
            """
        ),
        *_paragraph(
            f"""Plain and prompt-aware, mean of {len(plain)} seeds: {np.mean(plain):.3f} and
            {np.mean(aware):.3f}. By seed, the prompt-aware adapter gains {gains(plain, aware)}, at
            {better(found, plain, aware)} of {len(plain)} more than the standard error below. The bar is
            {COMBINED_BAR:.2f}, the stage-one model at most {STAGE_ONE_BAR:.1f} (it has
            {combined_mean(first):.3f}). What was never trained, plain and prompt-aware: pairing {pairing},
            wording {wording}.
            """
        ),
        *(_before(earlier) if earlier else []),
    ]


def _before(earlier: Results) -> list[str]:
    plain, aware = (
        [combined_mean(run["shares"]) for run in earlier["combined"][arm].values()]
        for arm in ("plain", "prompt-aware")
    )
    return _paragraph(
        f"""The same trainings were asked fewer items first, at most {tiny.FEWER.items} of a form, and one
        seed was worse: means {np.mean(plain):.3f} and {np.mean(aware):.3f}, gains {gains(plain, aware)}.
        More items were drawn because so few could not tell.
        """
    )


def gains(plain: Sequence[float], aware: Sequence[float]) -> str:
    """Return by how much each seed is better, as text."""
    return ", ".join(f"{after - before:+.3f}" for before, after in zip(plain, aware, strict=True))


def better(found: Results, plain: Sequence[float], aware: Sequence[float]) -> int:
    """Return at how many seeds the gain is more than the standard error."""
    error = standard_error(found)
    return sum(after - before > error for before, after in zip(plain, aware, strict=True))


def _losses(found: Results) -> list[str]:
    ends = [
        f"{arm} " + ", ".join(f"{run['losses'][-1]:.4f}" for run in runs.values())
        for arm, runs in found["combined"].items()
    ]
    items = found["single"]["items"]
    asked = sum(items[name] for name in tasks.COMBINED)
    return _paragraph(
        f"""Each share is of {min(items.values())} to {max(items.values())} items, each mean of {asked:,}: of
        another draw of as many items, a mean would differ by a standard error of up to
        {standard_error(found):.3f}, more where items are about the same clip. Beside the declared figure,
        the training loss over the last tenth of the steps, by seed: {"; ".join(ends)}.
        """
    )


def standard_error(found: Results) -> float:
    """Return the largest of a run's `combined_mean`, for items drawn independently."""
    items, runs = found["single"]["items"], [r for arm in found["combined"].values() for r in arm.values()]
    variances = [
        [run["shares"][name] * (1 - run["shares"][name]) / items[name] for name in tasks.COMBINED]
        for run in runs
    ]
    return float(np.sqrt(np.sum(variances, axis=1)).max() / len(tasks.COMBINED))


def _mean(runs: Mapping[str, Shares], task: str) -> float:
    return float(np.mean([shares[task] for shares in runs.values()]))


def _time(found: Results) -> list[str]:
    arms = [run["cpu_s"] for runs in found["combined"].values() for run in runs.values()]
    foundations = [found[name]["cpu_s"] for name in ("encoders", "decoder")]
    single = found["single"]["cpu_s"]
    total = sum(foundations) + single + sum(arms)
    chain = max(foundations) + single + sum(arms) / 2
    return [
        *_paragraph(
            f"""Processor time: {total / 60:.1f} minutes, {sum(foundations) / 60:.1f} of them for encoders and
            decoder, {single / 60:.1f} for stage one, {sum(arms) / 60:.1f} for the {len(arms)} trainings of
            stage two, all with their answers. Two processes at a time make that a chain of {chain / 60:.1f}
            minutes (bar: {MINUTES_BAR}). By the clock it took {found["minutes"]:.1f} minutes, start of
            processes included; where that is far more than the chain, other work shared the two cores.
            """
        ),
        "    python -m benchmarks.wavllm --only tiny",
        "",
    ]


def _paper(found: Results) -> list[str]:
    """Return the paper's figures with ours beside them, where ours has the same name."""
    ours = dict.fromkeys(PAPER, "not measured: nothing here was trained for it")
    if "answers" in found:
        seeds = [accuracy_of(seed["test"]["confusion"]) for seed in found["answers"]["seeds"]]
        ours["emotion", "accuracy"] = f"{np.mean(seeds):.1%}, EmoDB test speakers, 7 emotions"
    if "tiny" in found:
        runs = found["tiny"]["combined"]["prompt-aware"].values()
        followed = np.mean([run["combined"]["instruction_following"] for run in runs])
        ours["multiple", "instruction_following"] = f"{followed:.1%}, tiny model, sounds"
    rows = [
        [f"{task}: {TITLES[metric]}", f"{figure.value:.1%} ({figure.on}; {figure.mark})", ours[task, metric]]
        for (task, metric), figures in PAPER.items()
        for figure in figures
    ]
    return [
        "## Beside the paper",
        "",
        *_paragraph(
            """WavLLM (arXiv 2404.00656) has seven billion parameters; its
            weights can no longer be had, and its table was not at hand: the marks say how its figures are
            known. Other models on other data: **no figure of ours can be compared with one of the paper**.
            `edgekit evaluate TASKS --model DIR` measures all of these of a model that is there.
            """
        ),
        *_table(["task", "WavLLM", "here"], rows),
    ]


def accuracy_of(confusion: Sequence[Sequence[int]]) -> float:
    """Return the share of right answers: rows are what is right, columns what was answered.

    Example:
        >>> accuracy_of([[3, 1], [0, 4]])
        0.875
    """
    right = sum(row[index] for index, row in enumerate(confusion))
    return right / sum(map(sum, confusion))


SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "tiny": lambda found: _tiny(found["tiny"], found.get(EARLIER)),
    "answers": lambda found: answers.section(found["answers"]).splitlines(),
    "scales": lambda found: scales.section(found["scales"]).splitlines(),
}
"""Name of a part to what writes its section, of all that was measured."""
