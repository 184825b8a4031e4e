"""The whole build: every stage in order, re-running only what is stale.

The only module besides the command line that knows stages. Each stage is imported when it is needed, and
its identity (what its artifact is made from) is known without running it.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit import artifact
from edgekit.artifact import Artifact
from edgekit.audio import DEFAULT_AUDIO
from edgekit.audio.logmel import Level
from edgekit.errors import ArtifactError, ConfigError
from edgekit.progress import Progress
from edgekit.report import STAGES, Report, assemble
from edgekit.target import Target
from edgekit.targets import load_target

if TYPE_CHECKING:
    from distill.crops import Labeller
    from distill.training import Relabel
    from edgekit.uploader.keys import PrivateKey

MARKER = "build.json"
MARKER_SCHEMA = 1
LOCK = ".lock"
WINDOWS_ELF = "in_windows.elf"

Identity = tuple[Mapping[str, str], Mapping[str, Any]]
Built = Mapping[str, Artifact]


@dataclass(frozen=True)
class BuildConfig:
    """What to build, and from what.

    Attributes:
        target: Name of a target, or path of a target file.
        out: The build directory.
        audio: Files and folders to learn from; empty: the clips that ship with edgekit.
        teacher: Name of a teacher that ships with edgekit, or the folder of a trained one.
        student: Name of the student network.
        weights: `mixed4` (the two large linear layers in int4) or `int8`.
        level: Level normalisation: `causal` streams, `utterance` is the paper's.
        hop: Samples from one frame of the front end to the next.
        from_scratch: Train the student from random weights, not from the shipped checkpoint.
        seed: Seed of everything random.
        key: File of the private key that signs the images; None: the development key that ships.
    """

    target: str
    out: Path
    audio: tuple[Path, ...] = ()
    teacher: str = "compact"
    student: str = "wav2small"
    weights: Literal["mixed4", "int8"] = "mixed4"
    level: Level = "causal"
    hop: int = 32
    from_scratch: bool = False
    seed: int = 0
    key: Path | None = None


@dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes:
        artifacts: Stage name to its artifact.
        ran: The stages that had to run; the others were current.
        report: The report, as in `report/report.json`.
    """

    artifacts: Mapping[str, Artifact]
    ran: tuple[str, ...]
    report: Report


@dataclass(frozen=True)
class Stage:
    """One step of the build.

    Attributes:
        name: The stage that its artifact's manifest names.
        identity: What the artifact is made from, given those of the stages before.
        run: Makes the artifact in a folder.
        reuse: Called with the folder of an artifact that is current.
    """

    name: str
    identity: Callable[[Built], Identity]
    run: Callable[[Built, Path, Progress], Artifact]
    reuse: Callable[[Path], None] = lambda _: None


def build(config: BuildConfig, progress: Progress) -> Build:
    """Run every stale stage, then assemble the report.

    Args:
        config: What to build.
        progress: Called with `[2/6] distill: training` and the like, how much is done, and of how much.

    Raises:
        TargetError: If there is no such target.
        ConfigError: If the build directory cannot be written, is in use, or holds something else; if the key
            cannot be read.
        ArtifactError: If the build directory was made for another target.
        EdgekitError: What the stages raise; whatever was finished stays, and the same build resumes.
    """
    target = load_target(config.target)
    _require_tools(target)
    signing_key(config)
    with _own_folder(config.out, config.target, target.name):
        artifacts, ran = run_stages(stages(config, target), config.out, progress)
        report = assemble(config.out, target)
        write_report(config.out, report)
    return Build(artifacts, ran, report)


def signing_key(config: BuildConfig) -> "PrivateKey":
    """Return the key that signs the images of a build.

    Raises:
        ConfigError: If its file holds none.
    """
    from edgekit.uploader.keys import DEVELOPMENT_KEY, load_private

    return load_private(config.key or DEVELOPMENT_KEY)


def write_report(out: Path, report: Report) -> None:
    """Write `report/report.json` and `report/report.html` into a build directory."""
    from edgekit.report.page import render_page
    from edgekit.report.schema import PLACE, write_report

    file = out / PLACE
    file.parent.mkdir(exist_ok=True)
    write_report(file, report.to_dict())
    artifact.write_text(file.with_suffix(".html"), render_page(report))


def run_stages(
    steps: tuple[Stage, ...], out: Path, progress: Progress
) -> tuple[dict[str, Artifact], tuple[str, ...]]:
    """Run the stages in order, each only if its artifact is not current.

    Returns:
        Every stage's artifact by stage name, and the names of the stages that ran.
    """
    built: dict[str, Artifact] = {}
    ran: list[str] = []
    for number, stage in enumerate(steps, 1):
        say = _prefixed(progress, f"[{number}/{len(steps)}] {stage.name}")
        inputs, params = stage.identity(built)
        folder = out / STAGES[stage.name]
        if artifact.is_current(folder, stage.name, inputs, params):
            built[stage.name] = artifact.read(folder, stage.name)
            stage.reuse(folder)
            say("unchanged", 1, 1)
            continue
        built[stage.name] = stage.run(built, folder, say)
        ran.append(stage.name)
        # Otherwise the stage would be stale again at once, and every build would repeat it.
        assert artifact.is_current(folder, stage.name, inputs, params), f"{stage.name} wrote another identity"
    return built, tuple(ran)


def _require_tools(target: Target) -> None:
    """Ask for the compilers and the simulator of a target before minutes of training, not after them."""
    from codegen.toolchain import find_cross_compiler
    from edgekit.toolchain import find_host_compiler
    from firmware_sim.qemu_process import require_qemu

    find_host_compiler()
    if target.core.simulator == "native":
        return
    find_cross_compiler()
    if target.core.simulator == "qemu":
        require_qemu(target)
        return
    for package in ("unicorn", "capstone"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"no simulator: {package} is not installed", "run pip install 'edgekit[sim]'")


def stages(config: BuildConfig, target: Target) -> tuple[Stage, ...]:
    """Return all stages of a build in order."""
    return (
        _label(config),
        _distill(config),
        _quantize(config),
        _codegen(target),
        _firmware(config, target),
        _simulate(target),
        _alternatives(config, target),
    )


def _label(config: BuildConfig) -> Stage:
    from wavllm_teacher import labelling

    settings = labelling.LabelConfig(config.audio or (DEFAULT_AUDIO,), config.teacher)
    return Stage(
        "label",
        lambda _: labelling.identity(settings, config.out / STAGES["label"]),
        lambda _, out, progress: labelling.label(settings, out, progress),
        lambda out: labelling.note_location(settings, out),
    )


def _distill(config: BuildConfig) -> Stage:
    from distill import training
    from distill.config import recommended_config

    settings = recommended_config(
        config.student, config.level, config.hop, config.seed, from_scratch=config.from_scratch
    )
    return Stage(
        "distill",
        lambda built: training.identity(settings, built["label"].digest, usual_listener(built["label"])),
        lambda built, out, progress: training.distill(
            settings, built["label"].path, out, progress, usual_listener(built["label"])
        ),
    )


def usual_listener(labels: Artifact) -> "Relabel | None":
    """Return who labels the crops that a student hears, where nobody says.

    It is the compact teacher, if that made the labels. Larger ones would take too long: without a listener,
    the crops have the labels of their clips.
    """
    from wavllm_teacher.registry import teacher_digest

    return listener("compact") if labels.manifest.inputs.get("teacher") == teacher_digest("compact") else None


def listener(*teachers: str) -> "Relabel":
    """Return who labels crops: a teacher, or several whose labels are averaged.

    Args:
        teachers: Names, teacher folders or repositories.

    Raises:
        ConfigError: If there is no such teacher, or it is not here and cannot be downloaded.
        ArtifactError: If it is damaged.
    """
    from distill.training import TOGETHER, Relabel
    from wavllm_teacher.registry import find_teacher

    found = [find_teacher(teacher) for teacher in teachers]
    digests = " ".join(each.digest() for each in found)
    digest = digests if len(found) == 1 else hashlib.sha256(digests.encode()).hexdigest()
    return Relabel(TOGETHER.join(each.facts["name"] for each in found), digest, lambda: _loaded(teachers))


def _loaded(teachers: Sequence[str]) -> "Labeller":
    import numpy as np

    from wavllm_teacher.registry import load_teacher

    loaded = [load_teacher(teacher) for teacher in teachers]
    return lambda clips: np.mean([each.predict(clips) for each in loaded], axis=0, dtype=np.float32)


def _quantize(config: BuildConfig) -> Stage:
    from quantize import stage
    from quantize.config import QuantizeConfig

    settings = QuantizeConfig(weights=config.weights)
    return Stage(
        "quantize",
        lambda built: stage.identity(settings, built["distill"].digest, built["label"].digest),
        lambda built, out, progress: stage.quantize(
            settings, built["distill"].path, built["label"].path, out, progress
        ),
    )


def _codegen(target: Target) -> Stage:
    from codegen import stage

    return Stage(
        "codegen",
        lambda built: stage.generate_identity(built["quantize"].digest, target),
        lambda built, out, progress: stage.generate(built["quantize"].path, target, out, progress),
    )


def _firmware(config: BuildConfig, target: Target) -> Stage:
    from codegen import stage

    key = signing_key(config)
    return Stage(
        "firmware",
        lambda built: stage.firmware_identity(built["codegen"].digest, built["quantize"].digest, target, key),
        lambda built, out, progress: stage.build_firmware(
            built["codegen"].path, built["quantize"].path, target, key, out, progress
        ),
    )


def _simulate(target: Target) -> Stage:
    from firmware_sim import stage

    settings = stage.SimulateConfig()
    return Stage(
        "simulate",
        lambda built: stage.identity(
            settings, built["firmware"].digest, built["quantize"].digest, built["label"].digest, target
        ),
        lambda built, out, progress: stage.simulate_build(
            settings,
            built["firmware"].path,
            built["quantize"].path,
            built["label"].path,
            target,
            out,
            progress,
        ),
    )


def _alternatives(config: BuildConfig, target: Target) -> Stage:
    from distill.registry import shipped_variants
    from firmware_sim import remedies

    variants = [variant for variant in cheaper_variants(config) if variant.name in shipped_variants()]
    settings = {"variants": [variant.name for variant in variants], "weights": config.weights}

    def identity(built: Built) -> Identity:
        inputs = {name: built[name].digest for name in ("label", "distill", "quantize", "simulate")}
        return inputs, {**settings, "target": target.digest}

    key = signing_key(config)

    def run(built: Built, out: Path, progress: Progress) -> Artifact:
        with artifact.writing(out, "alternatives", *identity(built)) as work:
            tried = [remedies.candidate("", built)]
            if not remedies.holds(tried[0], target):
                tried = [remedies.candidate("", built, _in_windows(built, target, key, work))]
                for variant in variants:
                    made = _built_variant(variant, config, target, built["label"], work / "tried", progress)
                    elf = _in_windows(made, target, key, work)
                    tried.append(remedies.candidate(f"hop {variant.hop}", made, elf))
                    shutil.rmtree(work / "tried")
                (work / WINDOWS_ELF).unlink(missing_ok=True)
            progress("remedies", 1, 1)
            rows = [remedy.to_dict() for remedy in remedies.remedies(tried, target)]
            artifact.write_json(work / "remedies.json", {"remedies": rows})
        return artifact.read(out, "alternatives")

    return Stage("alternatives", identity, run)


def _in_windows(built: Built, target: Target, key: "PrivateKey", work: Path) -> Path | None:
    """Return a build's firmware for a window policy; None on this computer, whose memory is not counted."""
    from codegen.stage import compile_for
    from firmware_sim.remedies import in_windows

    if target.core.simulator == "native":
        return None
    generated, graph = built["codegen"].path, built["quantize"].path
    return compile_for(generated, graph, in_windows(target), key, work / WINDOWS_ELF)


@dataclass(frozen=True)
class Variant:
    """A student that comes with edgekit and needs fewer operations.

    Attributes:
        level: Level normalisation.
        hop: Samples from one frame to the next.
    """

    level: Level
    hop: int

    @property
    def name(self) -> str:
        """As its folder is called."""
        from distill.registry import variant_name

        return variant_name("wav2small", self.level, self.hop)


def cheaper_variants(config: BuildConfig) -> list[Variant]:
    """Return what could replace a student whose load is too high: streaming ones of larger hops."""
    from distill.config import HOPS

    return [Variant("causal", hop) for hop in HOPS if hop > config.hop]


def _built_variant(
    variant: Variant, config: BuildConfig, target: Target, labels: Artifact, out: Path, progress: Progress
) -> Built:
    """Build and simulate a student as it ships; its cost does not depend on fine-tuning."""
    import codegen.stage
    import firmware_sim.stage
    import quantize.stage
    from distill import training
    from distill.config import DistillConfig
    from quantize.config import QuantizeConfig

    say = _prefixed(progress, f"hop {variant.hop}")
    settings = DistillConfig("wav2small", variant.level, variant.hop, steps=0, pool=2)
    student = training.distill(settings, labels.path, out / "student", say)
    quantizing = QuantizeConfig(weights=config.weights, qat_steps=0)
    graph = quantize.stage.quantize(quantizing, student.path, labels.path, out / "graph", say)
    generated = codegen.stage.generate(graph.path, target, out / "c", say)
    firmware = codegen.stage.build_firmware(
        generated.path, graph.path, target, signing_key(config), out / "firmware", say
    )
    simulated = firmware_sim.stage.simulate_build(
        firmware_sim.stage.SimulateConfig(), firmware.path, graph.path, labels.path, target, out / "sim", say
    )
    return {"distill": student, "quantize": graph, "codegen": generated, "simulate": simulated}


def _prefixed(progress: Progress, prefix: str) -> Progress:
    return lambda what, done, total: progress(f"{prefix}: {what}", done, total)


def built_target(folder: Path) -> Target:
    """Return the target that a build directory was made for.

    Raises:
        ArtifactError: If it is no build directory.
        TargetError: If that target does not exist any more.
    """
    return load_target(_read_marker(folder)["target_file"])


@contextlib.contextmanager
def _own_folder(out: Path, target_file: str, target: str) -> Iterator[None]:
    """Hold the build directory for this process alone, after checking that it is one for this target."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(out)
        lock = (out / LOCK).open("a+")
    except OSError as error:
        raise ConfigError(f"{out}: cannot write here ({error.strerror})", "choose another --out") from error
    with lock:
        _take(lock.fileno(), out)
        _mark(out, target_file, target)
        yield


def _take(descriptor: int, out: Path) -> None:
    # The kernel drops the lock with the process, however that ends: no stale locks.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"{out}: another edgekit build is running here", "wait for it, or choose another --out"
        ) from error


def _refuse_foreign(out: Path) -> None:
    foreign = sorted(p.name for p in out.iterdir() if p.name != LOCK)
    if foreign and MARKER not in foreign:
        what = f"{out}: holds files that edgekit did not write ({foreign[0]})"
        raise ConfigError(what, "choose another --out")


def _mark(out: Path, target_file: str, target: str) -> None:
    """Check that a build already here is for this target, and note where the target is defined."""
    if (out / MARKER).exists():
        there = _read_marker(out)["target"]
        if there != target:
            raise ArtifactError(
                f"{out}: was built for target {there}, not {target}",
                f"choose another --out, or remove {out} first",
            )
    place = str(Path(target_file).resolve()) if Path(target_file).is_file() else target_file
    artifact.write_json(out / MARKER, {"schema": MARKER_SCHEMA, "target": target, "target_file": place})


def _read_marker(folder: Path) -> dict[str, str]:
    file = folder / MARKER
    if not file.is_file():
        raise ArtifactError(f"{folder}: not a build directory ({MARKER} is missing)", "run edgekit build")
    again = f"remove {folder}, then run edgekit build"
    try:
        marker = json.loads(file.read_text())
        schema, found = marker["schema"], {key: str(marker[key]) for key in ("target", "target_file")}
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{file}: damaged", again) from error
    if schema != MARKER_SCHEMA:
        raise ArtifactError(f"{file}: schema {schema}, this edgekit reads {MARKER_SCHEMA}", again)
    return found
