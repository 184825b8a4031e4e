"""Engines: every job once, whatever the number of workers, and what happens when one dies."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from edgekit.errors import AudioError, ConfigError
from wavllm_teacher.labelling.engines import LocalEngine, make_engine

# Module level: workers are fresh processes that import these.


def square(number):
    return number * number


def refuse_three(number):
    if number == 3:
        raise AudioError("3: cannot be used", "leave it out")
    return number


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def note_pid(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_run_once(workers):
    assert sorted(LocalEngine(workers).run(square, range(9))) == [square(n) for n in range(9)]


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_drawn_as_workers_become_free(workers):
    drawn = []
    results = LocalEngine(workers).run(square, (drawn.append(n) or n for n in range(100)))
    next(results)
    assert len(drawn) <= 3 * workers
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_job_is_the_errors_of_the_run(workers):
    with pytest.raises(AudioError, match="3: cannot be used") as caught:
        list(LocalEngine(workers).run(refuse_three, range(9)))
    assert caught.value.hint == "leave it out"
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_said():
    with pytest.raises(ConfigError, match="a worker process was killed") as caught:
        list(LocalEngine(2).run(die_at_three, range(9)))
    assert "fewer --workers" in caught.value.hint


def test_leaving_a_run_stops_its_workers(tmp_path):
    results = LocalEngine(2).run(note_pid, [str(tmp_path)] * 3)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    def ring():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    threading.Thread(target=ring, daemon=True).start()
    began_s = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(results)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began_s < 30
    assert multiprocessing.active_children() == []


def test_less_than_one_worker():
    with pytest.raises(ConfigError, match="0 workers"):
        LocalEngine(0)


def test_ray_that_is_not_installed(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="ray is not installed") as caught:
        make_engine("ray", 1)
    assert caught.value.hint == "run pip install 'edgekit[cluster]'"


def test_an_unknown_engine():
    with pytest.raises(ConfigError, match="unknown engine 'slurm'"):
        make_engine("slurm", 1)
