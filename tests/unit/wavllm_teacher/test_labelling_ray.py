"""The Ray engine: every job once, the bytes of the local engine, and what happens when a worker is lost."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from pyarrow import parquet
from unit.wavllm_teacher.tiny import voice

import edgekit
from edgekit import artifact
from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.labelling import LabelConfig, label
from wavllm_teacher.labelling import plan as planning
from wavllm_teacher.labelling.ray_engine import OBJECT_STORE_BYTES, TRIES, RayEngine, _Run, _run_job

pytest.importorskip("ray", reason="the extra cluster is not installed")

# Module level: workers are other processes that import these.


def square(number):
    return number * number


def refuse_three(number):
    if number == 3:
        raise AudioError("3: cannot be used", "leave it out")
    return number


def tried(folder: str, number: int) -> int:
    """Note a try of a job, and return how many there have been."""
    (Path(folder) / f"{number}-{time.monotonic_ns()}").touch()
    return len(list(Path(folder).glob(f"{number}-*")))


def die_at_three_once(job):
    folder, number = job
    if number == 3 and tried(folder, number) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_at_three(job):
    folder, number = job
    if number == 3:
        tried(folder, number)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def bad_disk_at_three_once(job):
    folder, number = job
    if number == 3 and tried(folder, number) == 1:
        raise OSError(5, "Input/output error")
    return number


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster of two processors that outlives its runs, as a real one does."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    # The workers of a cluster do not have the tests on their path.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    started = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES},
    )
    yield started.address
    started.shutdown()


@pytest.fixture
def engine(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    return RayEngine()


def test_every_job_is_run_once(engine):
    assert sorted(engine.run(square, range(9))) == [square(n) for n in range(9)]


def test_no_jobs_need_no_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert list(RayEngine().run(square, [])) == []


def test_jobs_are_drawn_as_workers_become_free(engine):
    drawn = []
    results = engine.run(square, (drawn.append(n) or n for n in range(100)))
    next(results)
    assert len(drawn) <= 6
    results.close()


def test_the_error_of_a_job_is_the_error_of_the_run(engine):
    with pytest.raises(AudioError, match="3: cannot be used") as caught:
        list(engine.run(refuse_three, range(9)))
    assert caught.value.hint == "leave it out"


@pytest.mark.parametrize("work", [die_at_three_once, bad_disk_at_three_once])
def test_what_a_machine_did_to_a_job_is_tried_again(engine, tmp_path, work):
    jobs = [(str(tmp_path), number) for number in range(6)]
    assert sorted(engine.run(work, jobs)) == list(range(6))
    assert len(list(tmp_path.glob("3-*"))) == 2


def test_a_job_that_takes_every_worker_with_it_ends_the_run(engine, tmp_path):
    with pytest.raises(ConfigError, match=f"a job's worker was lost {TRIES} times") as caught:
        list(engine.run(die_at_three, [(str(tmp_path), number) for number in range(6)]))
    assert len(list(tmp_path.iterdir())) == TRIES
    assert "fewer --workers" in caught.value.hint


def test_another_version_on_a_machine_of_the_cluster():
    with pytest.raises(
        ConfigError, match=rf"has edgekit {re.escape(edgekit.__version__)}, the machine that asks has 0"
    ):
        _run_job(square, 1, "0")


def test_less_than_one_worker():
    with pytest.raises(ConfigError, match="0 workers"):
        RayEngine(0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379", "nonsense"])
def test_a_cluster_that_is_not_there(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"cannot use the Ray cluster at {re.escape(address)}") as caught:
        list(RayEngine().run(square, range(2)))
    assert "RAY_ADDRESS" in caught.value.hint


@pytest.fixture
def config(tmp_path):
    """A manifest of files that take the teacher that ships a second or two."""
    for number in range(24):
        soundfile.write(tmp_path / f"{number:02d}.wav", voice(11.0, number), 16000)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("file\n" + "".join(f"{number:02d}.wav\n" for number in range(24)))
    return LabelConfig((manifest,))


def workers_at_work() -> list[int]:
    """Return the processes that run a job: Ray names a worker after what it runs."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if command.read_bytes().startswith(b"ray::_run_job"):
                found.append(int(command.parent.name))
    return found


def test_one_of_two_workers_killed_in_mid_run(config, tmp_path, monkeypatch, engine):
    """Nothing is lost or there twice, and every byte is the local engine's."""
    monkeypatch.setattr(planning, "SMALLEST_SHARD", 1)
    expected = label(config, tmp_path / "expected")
    out, tries, killed = tmp_path / "labels", [], []
    real = _Run.submit
    monkeypatch.setattr(
        _Run, "submit", lambda run, job, number=1: tries.append(number) or real(run, job, number)
    )

    def kill(what: str, done: int, total: int) -> None:
        if what.startswith("labelling") and 0 < done < total and 2 not in tries:
            while not (found := workers_at_work()):
                time.sleep(0.002)
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])

    made = label(config, out, kill, engine)
    assert killed
    assert 2 in tries, "no job was lost: the worker had nothing to do"
    assert made.manifest == expected.manifest
    rows = parquet.read_table(out / "labels.parquet")["file"].to_pylist()
    assert rows == [f"{number:02d}.wav" for number in range(24)]
    for file in made.manifest.files:
        assert (out / file).read_bytes() == (tmp_path / "expected" / file).read_bytes()


COMMAND = "import sys; from edgekit.cli import main; sys.exit(main(sys.argv[1:]))"


def test_the_command_starts_a_cluster_of_its_own_and_ends_it(config, tmp_path):
    local, clustered = tmp_path / "local", tmp_path / "clustered"
    reference = label(config, local)
    words = ["label", str(config.audio[0]), "--out", str(clustered), "--engine", "ray", "--workers", "2"]
    done = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=True)
    assert f"label artifact {reference.digest[:12]}" in done.stdout
    # Ray is chatty: standard output is for the result alone.
    assert len(done.stdout.splitlines()) == 6
    assert artifact.read(clustered, "label").manifest == reference.manifest
