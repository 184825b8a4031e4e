"""What Muon moves, and how: matrices by steps of one size in all directions, the rest as AdamW does."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.config import DistillConfig
from distill.optimizers import Optimizer
from distill.registry import create_student

CONFIG = DistillConfig(weight_decay=0.0, optimizer="muon")
RATE = 1e-3
MATRICES = {f"l{i}.conv.weight" for i in range(2, 8)} | {"mix.weight", "lin.weight", "sof.weight"}


def stepped(student, config):
    """Give every weight a random gradient, take a step, and return what each weight was and is."""
    before = {name: p.detach().clone() for name, p in student.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(0)
    for parameter in student.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    Optimizer(student, config).step(RATE)
    return {name: (before[name], p.detach()) for name, p in student.named_parameters() if name in before}


@pytest.fixture
def student():
    torch.manual_seed(0)
    return create_student("wav2small", CONFIG.front_end)


def test_muon_moves_matrices_equally_in_all_directions(student):
    moved = stepped(student, CONFIG)
    for name in ("l2.conv.weight", "mix.weight", "lin.weight"):
        before, after = moved[name]
        sizes = np.linalg.svd((after - before).flatten(1).numpy(), compute_uv=False)
        gradient = dict(student.named_parameters())[name].grad
        uneven = np.linalg.svd(gradient.flatten(1).numpy(), compute_uv=False)
        assert 0.005 < np.quantile(sizes, 0.05) < sizes.max() < 0.015, name
        assert np.ptp(np.log(sizes)) < np.ptp(np.log(uneven)), name


def test_the_rest_moves_as_with_adamw(student):
    plain = create_student("wav2small", CONFIG.front_end)
    plain.load_state_dict(student.state_dict())
    muon, adamw = stepped(student, CONFIG), stepped(plain, replace(CONFIG, optimizer="adamw"))
    same = {name for name in muon if torch.equal(muon[name][1], adamw[name][1])}
    assert set(muon) - same == MATRICES


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_decay_in_proportion_to_the_rate(student, optimizer):
    """Without a gradient, nothing else moves them; the rate of Muon's matrices is ten times the others'."""
    config = replace(CONFIG, optimizer=optimizer, weight_decay=0.5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    moving = {name: p for name, p in student.named_parameters() if p.requires_grad}
    for parameter in moving.values():
        parameter.grad = torch.zeros_like(parameter)
    Optimizer(student, config).step(RATE)
    for name, value in moving.items():
        rate = 10 * RATE if optimizer == "muon" and name in MATRICES else RATE
        torch.testing.assert_close(
            value.detach(), before[name] * (1 - rate * 0.5), rtol=1e-6, atol=0, msg=name
        )


@pytest.mark.parametrize("name", ["wav2small2", "mobilenetv3-small", "mobilenetv4-small"])
def test_every_weight_of_every_student_moves(name):
    torch.manual_seed(0)
    for weight, (before, after) in stepped(create_student(name, CONFIG.front_end), CONFIG).items():
        assert not torch.equal(before, after), weight


def test_an_optimizer_goes_on_from_its_state(student):
    plain = create_student("wav2small", CONFIG.front_end)
    plain.load_state_dict(student.state_dict())
    one = Optimizer(student, CONFIG)
    for step in range(3):
        if step == 2:
            plain.load_state_dict(student.state_dict())
            other = Optimizer(plain, CONFIG)
            other.load_state_dict(copy.deepcopy(one.state_dict()))
        for parameter in (p for p in student.parameters() if p.requires_grad):
            parameter.grad = parameter.detach() + step
        one.step(RATE)
    for parameter in (p for p in plain.parameters() if p.requires_grad):
        parameter.grad = parameter.detach() + 2
    other.step(RATE)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, student.state_dict()[name]), name
