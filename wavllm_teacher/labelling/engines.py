"""Where jobs run. An engine only distributes them: what a job does, and its result, is the job's own."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Protocol, TypeVar

from edgekit.errors import ConfigError

J = TypeVar("J")
R = TypeVar("R")
AHEAD = 2
"""Jobs handed out per worker, so that none waits for its next."""


class Engine(Protocol):
    """Runs jobs, on this machine or on many.

    Jobs and their results are picklable; `work` is a function at the top of a module, and idempotent: an
    engine may run a job again, or twice at once, when a worker is lost.
    """

    def run(self, work: Callable[[J], R], jobs: Iterable[J], gpus_per_job: int = 0) -> Iterator[R]:
        """Yield the result of `work` on every job, once each, in any order.

        `jobs` is drawn from as workers become free, never as a whole. An exception of a job ends the run
        and is raised here; leaving the iterator (Ctrl-C too) stops the workers. `gpus_per_job` is for engines
        that choose the machine of a job.
        """
        ...


class LocalEngine:
    """Runs jobs on this machine.

    Args:
        workers: Processes; 1 runs them in this one.

    Raises:
        ConfigError: If `workers` is below 1.
    """

    def __init__(self, workers: int = 1) -> None:
        check_workers(workers)
        self.workers = workers

    def run(self, work: Callable[[J], R], jobs: Iterable[J], gpus_per_job: int = 0) -> Iterator[R]:  # noqa: ARG002
        """Yield the result of `work` on every job; see `Engine.run`. The workers share this machine's GPUs.

        Raises:
            ConfigError: If a worker process is killed.
        """
        if self.workers == 1:
            yield from map(work, jobs)
            return
        others = set(multiprocessing.active_children())
        # Forked workers would share PyTorch's threads, and hang.
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _start_worker)
        try:
            yield from _drain(pool, work, iter(jobs), AHEAD * self.workers)
        except BrokenProcessPool as error:
            raise ConfigError(
                "a worker process was killed, perhaps for want of memory",
                "run the same command with fewer --workers to go on",
            ) from error
        except BaseException:
            # A job may take minutes, and nobody waits for its result any more.
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def check_workers(workers: int) -> None:
    """Require at least one worker.

    Raises:
        ConfigError: If `workers` is below 1.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers", "use --workers 1 or more")


def _drain(pool: ProcessPoolExecutor, work: Callable[[J], R], jobs: Iterator[J], ahead: int) -> Iterator[R]:
    running: set[Future[R]] = {pool.submit(work, job) for job in itertools.islice(jobs, ahead)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            running.update(pool.submit(work, job) for job in itertools.islice(jobs, 1))
            yield future.result()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(OSError):
            connection.wait([parent.sentinel])
        os._exit(1)


def make_engine(name: str, workers: int | None = None) -> Engine:
    """Return an engine by name: `local` or `ray`.

    Args:
        name: Of the engine.
        workers: Jobs at a time; None: 1, or as many as the Ray cluster has processors.

    Raises:
        ConfigError: If there is no such engine, it is not installed, or `workers` is below 1.
    """
    if name == "local":
        return LocalEngine() if workers is None else LocalEngine(workers)
    if name == "ray":
        import importlib.util

        if importlib.util.find_spec("ray") is None:
            raise ConfigError("ray is not installed", "run pip install 'edgekit[cluster]'")
        from wavllm_teacher.labelling.ray_engine import RayEngine

        return RayEngine(workers)
    raise ConfigError(f"unknown engine {name!r}", "use --engine local or --engine ray")
