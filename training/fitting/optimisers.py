"""An optimiser that torch lacks for convolutions: Muon for the inner matrices, AdamW for the rest.

Knows parameters and their gradients. Knows nothing of models, recipes or schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Coefficients of the quintic whose iteration brings singular values near 1 (Jordan et al. 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class MuonWithAdamW(torch.optim.AdamW):
    """One optimiser with two rules: orthogonalised steps for matrices, AdamW for everything else.

    The momentum of a gradient, as a matrix of outputs × (inputs · kernel), is replaced by the nearest matrix
    whose singular values are all about 1. Rare directions then move as far as common ones. `torch.optim.Muon`
    accepts 2-D parameters only, and a convolution's kernel is not 2-D; two optimisers would need two
    schedules.

    Source:
        Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; weight decay
        and its use at scale: Liu et al. 2025, arXiv:2502.16982, section 2.
    """

    def __init__(
        self,
        *,
        matrices: Sequence[nn.Parameter],
        adamw: Sequence[dict[str, Any]],
        lr: float,
        matrix_lr: float,
        betas: tuple[float, float],
        matrix_weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        """Muon moves `matrices` (2-D or more), and AdamW the parameter groups of `adamw`."""
        muon = {
            "params": matrices,
            "lr": matrix_lr,
            "weight_decay": matrix_weight_decay,
            "momentum": momentum,
        }
        super().__init__([*adamw, muon] if matrices else list(adamw), lr=lr, betas=betas)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; remove the gradients of the matrices."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if "momentum" in group:
                self._muon_step(group)
        # AdamW skips parameters without a gradient.
        super().step()
        return loss

    def _muon_step(self, group: dict[str, Any]) -> None:
        for matrix in group["params"]:
            if matrix.grad is None:
                continue
            state = self.state[matrix]
            if not state:
                # AdamW expects a count in every state that it restores.
                state["step"] = torch.tensor(0.0)
                state["mean_gradient"] = torch.zeros_like(matrix)
            state["step"] += 1
            mean: Tensor = state["mean_gradient"]
            mean.lerp_(matrix.grad, 1.0 - group["momentum"])
            # Nesterov's momentum: the mean as if the same gradient came once more.
            direction = orthogonalised(matrix.grad.lerp(mean, group["momentum"]).flatten(start_dim=1))
            rows, columns = direction.shape
            matrix.mul_(1.0 - group["lr"] * group["weight_decay"])
            matrix.add_(direction.view_as(matrix), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
            matrix.grad = None


def orthogonalised(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """About U·Vᵀ of the singular value decomposition U·S·Vᵀ: singular values from about 0.7 to 1.2.

    Every round multiplies x by a polynomial of x·xᵀ from the left. The polynomials commute, so they are
    multiplied with one another on the small side, and with the matrix once, at the end.

    Source:
        The Newton-Schulz iteration of Jordan et al. 2024, with its coefficients and five rounds.
    """
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x: Tensor = wide / (wide.norm() + 1e-7)
    gram = x @ x.T
    product = identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(_ROUNDS):
        polynomial = a * identity + b * gram + c * (gram @ gram)
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    x = product @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T
