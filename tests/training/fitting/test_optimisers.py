"""Muon's orthogonalised step against the singular value decomposition, and its company with AdamW."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from training.fitting.optimisers import MuonWithAdamW, orthogonalised


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 3))


def kernel_of(model: nn.Sequential) -> nn.Parameter:
    weight = model[0].weight
    assert isinstance(weight, nn.Parameter)
    return weight


def optimiser_of(model: nn.Sequential, **keys: float) -> MuonWithAdamW:
    kernel = kernel_of(model)
    rest = [p for p in model.parameters() if p is not kernel]
    chosen = {"lr": 1e-3, "matrix_lr": 0.1, "matrix_weight_decay": 0.0, **keys}
    return MuonWithAdamW(
        matrices=[kernel], adamw=[{"params": rest, "weight_decay": 0.1}], betas=(0.9, 0.99), **chosen
    )


def gradients(model: nn.Sequential, seed: int) -> None:
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    model.zero_grad()
    model(x).square().sum().backward()


@pytest.mark.parametrize("shape", [(6, 30), (30, 6), (16, 16), (1, 9)])
def test_orthogonalised_has_the_singular_vectors_and_values_near_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    inside = u.T @ orthogonalised(matrix) @ vt.T
    values = inside.diagonal()
    torch.testing.assert_close(inside, torch.diag(values), atol=1e-4, rtol=0.0)
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_a_gradient_of_zero_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(4, 6)), torch.zeros(4, 6))


def test_the_first_step_is_the_orthogonalised_gradient_whatever_its_size():
    for scale in (1.0, 1e3):
        model = network()
        before = kernel_of(model).detach().clone()
        gradients(model, 1)
        gradient = kernel_of(model).grad.flatten(start_dim=1)
        kernel_of(model).grad.mul_(scale)
        optimiser_of(model).step()
        moved = (before - kernel_of(model).detach()).flatten(start_dim=1)
        torch.testing.assert_close(moved, 0.1 * orthogonalised(gradient), atol=1e-5, rtol=1e-4)


def test_what_is_not_a_matrix_of_its_moves_as_by_adamw():
    model, alone = network(), network()
    kernel = kernel_of(alone)
    adamw = torch.optim.AdamW(
        [p for p in alone.parameters() if p is not kernel], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1
    )
    optimiser = optimiser_of(model, matrix_lr=0.0)
    for seed in range(3):
        gradients(model, seed)
        gradients(alone, seed)
        optimiser.step()
        adamw.step()
    for name, weight in alone.named_parameters():
        assert torch.equal(weight, model.get_parameter(name)), name


def test_weight_decay_shrinks_a_matrix_in_units_of_the_learning_rate():
    model = network()
    before = kernel_of(model).detach().clone()
    gradients(model, 1)
    kernel_of(model).grad.zero_()
    optimiser_of(model, matrix_weight_decay=0.5).step()
    torch.testing.assert_close(kernel_of(model).detach(), before * (1.0 - 0.1 * 0.5))


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_restored_state_goes_on_with_the_same_bits(channels_last):
    model: Any = network()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimiser = optimiser_of(model)
    gradients(model, 1)
    optimiser.step()
    other = copy.deepcopy(model)
    restored = optimiser_of(other)
    restored.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for each, its in ((model, optimiser), (other, restored)):
        gradients(each, 2)
        its.step()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, other.get_parameter(name)), name


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    model = network()

    def closure():
        model.zero_grad()
        loss = model(torch.ones(1, 1, 4, 4)).sum()
        loss.backward()
        return loss

    assert optimiser_of(model).step(closure).requires_grad
