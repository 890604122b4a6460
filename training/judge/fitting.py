"""Fit the judge: from labelled images to a classifier and its accuracy on the test images.

Knows images, labels, shifts and the optimiser. Knows nothing of latent models or the purpose of the judge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from training.config.model_section import MAX_DENSE_SIDE
from training.data import ImageData, ImageSet, to_unit_interval
from training.errors import DataError, NonFiniteTraining
from training.fitting.ema import decay_after
from training.fitting.pace import Pace, in_words
from training.judge.classifier import Judge, JudgeFacts, JudgeNetwork, labels_fingerprint, look
from training.objectives.progress import Progress
from training.randomness.seeding import generator_for

#: Passes over the training images; more hardly raise the accuracy.
EPOCHS = 10
_BATCH = 128
_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.02
_EMA_DECAY = 0.998
#: Largest shift of a training image to each side, in pixels, which never changes its label.
_SHIFT = 2


def fit_judge(
    data: ImageData,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Judge:
    """Fit a judge; equal seeds and threads yield equal bits.

    AdamW with a one-cycle learning rate (arXiv:1708.07120), cross-entropy, images shifted by up to two
    pixels, and a moving average of the weights. The test images influence nothing: they are used once, at the
    end.

    Args:
        data: Labelled training and test images.
        seed: Seed of initial weights, order and shifts.
        epochs: Passes over the training images.
        progress: Called after each step with the images of the epoch so far.
        tell: Called with a line for people after each epoch.

    Raises:
        DataError: Labels are missing, or all alike, or the images are too large.
        NonFiniteTraining: The loss is not finite.
    """
    if max(data.image_shape[1:]) > MAX_DENSE_SIDE:
        raise DataError(
            f"{data.train.name}: expected images with sides of at most {MAX_DENSE_SIDE} pixels for a judge, "
            f"whose network is made for small ones, got shape {data.image_shape}. Evaluate without a judge."
        )
    labels = _labels(data.train)
    test_labels = _labels(data.test)
    classes = int(max(labels.max(), test_labels.max())) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JudgeNetwork(data.image_shape, classes)
    averaged = AveragedModel(network, avg_fn=_mean)
    batch = min(_BATCH, len(labels))
    steps = len(labels) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = OneCycleLR(optimiser, max_lr=_LEARNING_RATE, total_steps=epochs * steps)
    pace = Pace(epochs * steps)
    for epoch in range(epochs):
        order = torch.randperm(len(labels), generator=generator_for(seed, "order", epoch))
        total = 0.0
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            shifts = generator_for(seed, "shifts", epoch * steps + step)
            x = shifted(to_unit_interval(data.train.images[chosen]), generator=shifts)
            loss = functional.cross_entropy(network(x), labels[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            total += loss.item()
            if progress is not None:
                progress(f"epoch {epoch + 1}/{epochs}", (step + 1) * batch, steps * batch)
        _check_finite(total, epoch)
        times = f"{in_words(pace.lap_s())} this epoch, {in_words(pace.so_far_s)} so far"
        left_s = pace.left_s((epoch + 1) * steps)
        if left_s:
            times += f", {in_words(left_s)} left"
        tell(f"epoch {epoch + 1}/{epochs}  cross-entropy {total / steps:.4f}  {times}")
    kept = averaged.module.eval()
    assert isinstance(kept, JudgeNetwork)
    seen = look(kept, to_unit_interval(data.test.whole())).labels
    facts = JudgeFacts(
        image_shape=data.image_shape,
        classes=classes,
        accuracy=(seen == test_labels).double().mean().item(),
        protocol=(
            f"all {len(data.test):,} images of {data.test.name}; fitted on {len(labels):,} images of "
            f"{data.train.name}, {epochs} epochs, seed {seed}"
        ),
        trained_on=data.train.fingerprint,
        trained_on_labels=labels_fingerprint(data.train.labels),
    )
    return Judge(network=kept, facts=facts)


def shifted(x: Float[Tensor, "n c h w"], *, generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Each image shifted by whole pixels, up to two to each side, with black pixels at its edge."""
    images, _, height, width = x.shape
    padded = functional.pad(x, (_SHIFT, _SHIFT, _SHIFT, _SHIFT))
    offsets = torch.randint(0, 2 * _SHIFT + 1, (2, images, 1), generator=generator)
    rows = offsets[0] + torch.arange(height)
    columns = offsets[1] + torch.arange(width)
    which = torch.arange(images).view(-1, 1, 1)
    # Indexing puts the channels last.
    return padded.movedim(1, -1)[which, rows.unsqueeze(2), columns.unsqueeze(1)].movedim(-1, 1)


def _labels(image_set: ImageSet) -> Int64[Tensor, " n"]:
    labels = image_set.labels
    if labels is None or int(labels.min()) == int(labels.max()):
        raise DataError(
            f"{image_set.name}: expected labels of at least two kinds, got "
            f"{'none' if labels is None else 'one kind only'}. A judge needs labelled images to learn from."
        )
    return labels


def _mean(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
    return torch.lerp(averaged, current, 1.0 - decay_after(float(updates), decay=_EMA_DECAY))


def _check_finite(total: float, epoch: int) -> None:
    if not torch.isfinite(torch.tensor(total)):
        raise NonFiniteTraining(
            f"judge: expected a finite loss in epoch {epoch + 1}, got {total}. Try another --seed."
        )
