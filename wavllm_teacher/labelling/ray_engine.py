"""Jobs on a Ray cluster: on many machines, or on the processors of this one.

The audio, a teacher's folder and the folder that is written must be visible to all machines under the same
paths (a shared file system), and all must have the same edgekit installed.
"""

import contextlib
import itertools
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import edgekit
from edgekit.errors import ConfigError
from wavllm_teacher.labelling.engines import AHEAD, J, R, check_workers

if TYPE_CHECKING:
    import ray

TRIES = 3
"""How often a job is run at most where workers are lost, or a machine's disk fails."""
OBJECT_STORE_BYTES = 100 << 20
"""Of a local cluster. Jobs and results are small and bypass it; by default it takes a third of the memory."""
CONNECT_TIMEOUT_S = 10.0
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray prints about workers that are lost: to standard output, where the result belongs.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # By default the workers of a cluster give way to everything else that runs on the machine.
    "RAY_worker_niceness": "0",
}
"""Of a cluster that is started here; read once, while Ray is imported."""


class RayEngine:
    """Runs jobs on the cluster that RAY_ADDRESS names, else on one that is started here for the run.

    A job whose worker or machine is lost is run again on another. Jobs compute as `LocalEngine`'s do, and
    write the same bytes.

    Args:
        workers: Jobs at a time; None: as many as the cluster has processors.

    Raises:
        ConfigError: If `workers` is below 1.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None:
            check_workers(workers)
        self.workers = workers

    def run(self, work: Callable[[J], R], jobs: Iterable[J], gpus_per_job: int = 0) -> Iterator[R]:
        """Yield the result of `work` on every job; see `Engine.run`.

        Raises:
            ConfigError: If there is no such cluster, a machine has another edgekit, or a job's worker is
                lost again and again.
        """
        waiting = iter(jobs)
        first = list(itertools.islice(waiting, 1))
        if first:
            with _cluster(self.workers):
                yield from _Run(work, self.workers, gpus_per_job).results(itertools.chain(first, waiting))


@contextlib.contextmanager
def _cluster(workers: int | None) -> Iterator[None]:
    """Connect to a cluster, or start one, and leave or end it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            _require_answer(address)
        ray.init(address or "local", **QUIET, **({} if address else local))
    except (OSError, RuntimeError, ValueError) as error:
        what = f"cannot use the Ray cluster at {address}" if address else "cannot start a Ray cluster"
        hint = "see that RAY_ADDRESS names a running cluster, or unset it to start one on this machine"
        raise ConfigError(f"{what}: {_first_line(error)}", hint) from error
    try:
        # Ray has put its own in place, which would end the process without resuming in mind.
        signal.signal(signal.SIGTERM, on_sigterm)
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Require that a cluster at HOST:PORT answers: Ray would try for minutes.

    Raises:
        OSError: If nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.removeprefix("ray://"), int(port)), CONNECT_TIMEOUT_S).close()


class _Run:
    """The jobs of one run that are on the cluster.

    Ray would retry by itself, but without end where memory runs out.
    """

    def __init__(self, work: Callable[[J], R], workers: int | None, gpus_per_job: int) -> None:
        import ray

        has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if has.get("CPU", 0) < 1:
            raise ConfigError("the Ray cluster has no processors", "add a machine to it: ray start --address")
        gpus = min(gpus_per_job, int(has.get("GPU", 0)))
        self.task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_run_job)
        self.work = work
        self.ahead = workers or AHEAD * int(has["GPU"] if gpus else has["CPU"])
        self.running: dict[ray.ObjectRef[Any], tuple[Any, int]] = {}

    def submit(self, job: Any, number: int = 1) -> None:
        """Hand out a job for the `number`-th time."""
        self.running[self.task.remote(self.work, job, edgekit.__version__)] = job, number

    def results(self, jobs: Iterator[Any]) -> Iterator[Any]:
        """Yield the result of every job, with a bounded number of them handed out."""
        import ray

        for job in itertools.islice(jobs, self.ahead):
            self.submit(job)
        while self.running:
            (done,), _ = ray.wait(list(self.running))
            job, number = self.running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayError as error:
                _require_another_try(error, number)
                self.submit(job, number + 1)
                continue
            for following in itertools.islice(jobs, 1):
                self.submit(following)
            yield result


def _run_job(work: Callable[[J], R], job: J, version: str) -> R:
    """Run a job, on a machine of the cluster."""
    if edgekit.__version__ != version:
        raise ConfigError(
            f"{platform.node()} has edgekit {edgekit.__version__}, the machine that asks has {version}",
            "install the same version on all machines of the cluster",
        )
    return work(job)


def _require_another_try(error: "ray.exceptions.RayError", number: int) -> None:
    """Raise what a job that failed for the `number`-th time ends with, unless it may be run again.

    A lost worker or a failing disk is the machine's; everything else is the job's, and would come again.
    """
    import ray

    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else None
    if cause and (number >= TRIES or not isinstance(cause, OSError)):
        raise cause from error
    if number >= TRIES:
        raise ConfigError(
            f"a job's worker was lost {number} times: {_first_line(error)}",
            "run the same command with fewer --workers to go on, if memory ran out",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0]
