"""The two stages of the training."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit.wavllm_teacher.teaching.tiny_corpora import TINY, config_of

from edgekit.metrics import DIMENSIONS, adv_ccc
from edgekit.progress import silent
from wavllm_teacher.dual_encoder import DualEncoder
from wavllm_teacher.teaching.states import Heard, States
from wavllm_teacher.teaching.trainer import Trainer, history_csv, learning_rate, task_of
from wavllm_teacher.training import ccc_loss

pytestmark = pytest.mark.usefixtures("tiny_sizes")


def test_single_tasks_take_turns():
    config = config_of(Path("a"), whisper=Path("w"), single_steps=6, joint_steps=1)
    tasks = [task_of(step, ["x", "y"], config) for step in range(7)]
    assert {(t.corpora, t.dimensions) for t in tasks[:6]} == {((c,), (d,)) for c in "xy" for d in DIMENSIONS}
    assert (tasks[6].corpora, tasks[6].dimensions) == (("x", "y"), DIMENSIONS)


def test_a_single_task_trains_its_dimension_alone(tmp_path):
    # Two rounds, so that momentum and weight decay have something to go on with.
    network, trainer = learnable(tmp_path, single_steps=6, joint_steps=1)
    for step in range(6):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        trainer._advance()
        changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
        heads = {name.split(".")[1] for name in changed if name.startswith("heads")}
        assert heads == {DIMENSIONS[step % 3]}
        assert step == 0 or any(name.startswith("branches.whisper.subsample") for name in changed)
    trainer._advance()
    changed = {n for n, v in network.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[1] for name in changed if name.startswith("heads")} == set(DIMENSIONS)


def test_a_single_task_is_of_one_corpus(tmp_path, monkeypatch):
    _, trainer = learnable(tmp_path, corpora=("x", "y"), single_steps=2, joint_steps=1)
    drawn = []
    batch = Heard.batch
    names = {id(heard): name for name, heard in trainer.train.items()}

    def note(self: Heard, indices, *arguments):
        if id(self) in names:
            drawn[-1][names[id(self)]] = len(indices)
        return batch(self, indices, *arguments)

    monkeypatch.setattr(Heard, "batch", note)
    for _ in range(3):
        drawn.append({})
        trainer._advance()
    assert drawn == [{"x": 64}, {"y": 64}, {"x": 32, "y": 32}]


def test_three_corpora_share_a_batch(tmp_path):
    _, trainer = learnable(tmp_path, corpora=("x", "y", "z"), single_steps=0, joint_steps=1)
    clips, labels = trainer._draw(task_of(0, ["x", "y", "z"], trainer.config), np.random.default_rng(0))
    assert len(clips["whisper"]) == len(labels) == 64


def test_learns(tmp_path):
    _, trainer = learnable(tmp_path, single_steps=30, joint_steps=120, learning_rate=1e-2)
    state = trainer.run(silent)
    assert min(state.best.dev_ccc["x"].values()) > 0.8
    assert state.best.step > 30


def test_keeps_the_best(tmp_path):
    _, trainer = learnable(tmp_path, single_steps=0, joint_steps=20, learning_rate=1e-2)
    state = trainer.run(silent)
    scores = [np.mean(row[4:]) for row in state.history]
    assert state.best.score == max(scores)
    assert state.best.step == state.history[int(np.argmax(scores))][0]
    trainer._evaluate()
    assert np.mean(state.history[-1][4:]) == pytest.approx(max(scores), abs=1e-6)


def test_every_step_draws_anew(tmp_path):
    _, trainer = learnable(tmp_path, single_steps=0, joint_steps=3)
    task = task_of(0, ["x"], trainer.config)
    one, again, other = (
        torch.cat(trainer._draw(task, np.random.default_rng([0, step]))[0]["whisper"], dim=1)
        for step in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one[:, :20], other[:, :20])


def test_the_generator_of_others_is_left_alone(tmp_path):
    _, trainer = learnable(tmp_path)
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    trainer._advance()
    assert torch.equal(torch.rand(3), wanted)


def test_learning_rates():
    config = config_of(Path("a"), whisper=Path("w"), single_steps=40, joint_steps=80)
    rates = [learning_rate(step, config) for step in range(120)]
    for stage in (rates[:40], rates[40:]):
        assert max(stage) == config.learning_rate
        assert stage[-1] < 0.01 * config.learning_rate
        assert stage.index(max(stage)) < 5


def test_history(tmp_path):
    _, trainer = learnable(tmp_path)
    rows = [line.split(",") for line in history_csv(trainer.run(silent).history).splitlines()]
    dev = [f"dev_{name}" for name in DIMENSIONS]
    assert rows[0] == ["step", "stage", "learning_rate", "train_loss", *dev]
    assert [row[0] for row in rows[1:]] == ["0", "2", "4", "6", "8"]
    assert [row[1] for row in rows[1:]] == ["single", "single", "single", "joint", "joint"]
    assert rows[1][3] == ""
    # 1 - CCC, about 1 each in the beginning: of one dimension in single tasks, of three in the joint one.
    assert float(rows[2][3]) < 1.2 < 1.8 < float(rows[4][3])


SERIES = arrays(np.float64, (20, 3), elements=st.floats(0, 1))


@given(SERIES, SERIES)
def test_the_loss_is_one_minus_ccc(prediction, target):
    assume((prediction.var(0) + target.var(0)).min() > 1e-4)
    wanted = sum(1 - value for value in adv_ccc(prediction, target).values())
    loss = ccc_loss(torch.from_numpy(prediction), torch.from_numpy(target))
    assert loss.item() == pytest.approx(wanted, abs=1e-3)


def test_the_loss_of_two_equal_constants_is_defined():
    assert ccc_loss(torch.full((9, 1), 0.5), torch.full((9, 1), 0.5)).item() == 1


def learnable(folder: Path, corpora: tuple[str, ...] = ("x",), **changed) -> tuple[DualEncoder, Trainer]:
    """A network and a trainer on random states that hold the labels, lengths from 4 to 20 frames."""
    rng, numbers = np.random.default_rng(0), itertools.count()

    def heard(count: int) -> Heard:
        labels = rng.random((count, 3)).astype(np.float32)
        counts = rng.integers(4, 20, count).tolist()
        files = [folder / f"{next(numbers)}.npy" for _ in counts]
        for file, frames, adv in zip(files, counts, labels, strict=True):
            states = rng.normal(0, 0.1, (2, frames, 6))
            states[1, :, :3] += adv
            np.save(file, states.astype(np.float16))
        return Heard({"whisper": States(tuple(files), tuple(counts))}, torch.from_numpy(labels))

    config = config_of(Path("a"), whisper=Path("w"), dropout=0.0, **changed)
    torch.manual_seed(0)
    network = DualEncoder(TINY, {"whisper": (2, 6)})
    train, dev = ({name: heard(count) for name in corpora} for count in (80, 40))
    return network, Trainer(network, train, dev, config, folder)
