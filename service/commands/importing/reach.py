"""Tries how far the decoder reaches, and whether tiles of a latent give the pixels of the whole.

Knows runs of the decoder. Knows nothing of manifests or of the store. Each probe adds a finding.

    reach    positions from a changed latent to the last pixel that changes at all
    halo     positions around a tile after which its pixels are those of the whole, within a tolerance

Influence fades with distance, so the halo is mostly shorter: of TAESD 10 positions, where the reach is 20.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.commands.importing.report import Report
from service.commands.importing.trial import Trial

Array = NDArray[np.float32]
#: Longest estimated time of the probe of the decoder's reach.
_REACH_S: Final = 8.0
_REACH_COLUMNS: Final = 64
_REACH_ROWS: Final = 8
#: The same of the halo.
_HALO_S: Final = 30.0
#: Side of the tile that is compared, in positions.
_CORE: Final = 8
#: Steps of the whole latent beyond the reach; odd, for graphs that depend on the parity of a position.
_BEYOND: Final = 3
#: Largest difference, in units of the range of pixels, at the halo that is found, and in any case. Tiles of
#: requests have more pixels than the one that is compared, so the first is a fifth of what is promised.
_HALO_TOLERANCE: Final = 2e-6
_LARGEST_DIFFERENCE: Final = 5e-6
#: Runs of the whole latent that the probe needs, and about twice as many of windows.
_WHOLES: Final = 4


def probe_reach(trial: Trial, report: Report, latent: tuple[int, ...], *, seconds: float) -> int | None:
    """How many latent positions away a changed latent still changes a pixel; None: to the border, or unknown.

    Args:
        trial: The graphs.
        report: Receives a finding.
        latent: Shape of a latent of the default size.
        seconds: Time of the decoder for it.
    """
    positions = latent[1] * latent[2]
    estimate_s = 4 * seconds * _REACH_COLUMNS * _REACH_ROWS / positions
    if estimate_s > _REACH_S:
        report.warn("decoder's reach", f"not tried: it would take about {estimate_s:.0f} s")
        return None
    reaches = []
    for is_turned in (False, True):
        z = np.random.default_rng(0).standard_normal((1, latent[0], _REACH_ROWS, _REACH_COLUMNS))
        changed = z.copy()
        changed[:, :, :, 0] += 1.0
        pair = [each.astype(np.float32) for each in (z, changed)]
        if is_turned:
            pair = [np.ascontiguousarray(each.transpose(0, 1, 3, 2)) for each in pair]
        one, two = (trial.decode(each) for each in pair)
        differs = (one != two).any(axis=(0, 1, 3 if is_turned else 2))
        factor = len(differs) // _REACH_COLUMNS
        reaches.append(int(np.flatnonzero(differs).max(initial=0)) // factor)
    reach = max(reaches)
    if reach >= _REACH_COLUMNS - 1:
        report.ok("decoder's reach", "the whole image: one latent changes pixels up to the border")
        return None
    report.ok("decoder's reach", f"{reach} latents")
    return reach


def probe_halo(
    trial: Trial,
    report: Report,
    z: Array,
    *,
    reach: int,
    step: int,
    least: int,
    pixels: tuple[float, float],
    seconds_per_position: float,
) -> int | None:
    """The shortest halo of tiles whose pixels are those of the whole; None: no tiles are, or not tried.

    Tried with noise like the latents of pictures, three times as large noise, and even latents, whose sums at
    a cut edge do not cancel.

    Args:
        trial: The graphs.
        report: Receives a finding.
        z: Latents of pictures, (N, c, h, w).
        reach: Of the decoder.
        step: Positions that sizes are multiples of.
        least: Shortest side of a latent.
        pixels: The graph's values of black and white.
        seconds_per_position: Time of the decoder.
    """
    farthest = math.ceil(reach / step) * step
    core = math.ceil(max(_CORE, least) / step) * step
    # Beyond the reach too: otherwise the largest window would be the whole, and begin where it begins.
    around = farthest + _BEYOND * step
    side = core + 2 * around
    estimate_s = 3 * _WHOLES * side * side * seconds_per_position
    if estimate_s > _HALO_S:
        report.warn("tiles", f"not tried: it would take about {estimate_s:.0f} s")
        return None
    halo, largest = 0, 0.0
    for latent in _latents_like(z, side):
        whole = _core_of(trial.decode(latent), core, around, side)

        def difference(halo: int, latent: Array = latent, whole: Array = whole) -> float:
            apart = _tile(trial, latent, core=core, halo=halo) - whole
            return float(np.abs(apart).max()) / (pixels[1] - pixels[0])

        rounding = difference(farthest)
        largest = max(largest, rounding)
        if rounding > _LARGEST_DIFFERENCE:
            report.ok("tiles", f"differ from the whole image by {rounding:.1g}, so none are exact")
            return None
        halo = _shortest(difference, halo, farthest, step, most=max(_HALO_TOLERANCE, 1.5 * rounding))
        largest = max(largest, difference(halo))
    halo = min(reach, halo + step if halo else 0)
    report.ok("tiles", f"with {halo} latents around them, those of the whole image within {largest:.1g}")
    return halo


def _shortest(difference: Callable[[int], float], low: int, high: int, step: int, *, most: float) -> int:
    """The shortest halo from `low` to `high` with at most this difference, which falls with the halo."""
    if difference(low) <= most:
        return low
    low += step
    while low < high:
        middle = low + (high - low) // (2 * step) * step
        if difference(middle) <= most:
            high = middle
        else:
            low = middle + step
    return high


def _latents_like(z: Array, side: int) -> Iterator[Array]:
    """Latents of a square with the mean and deviation of each channel of `z`."""
    rng = np.random.default_rng(0)
    mean, std = (each.reshape(1, -1, 1, 1) for each in (z.mean(axis=(0, 2, 3)), z.std(axis=(0, 2, 3))))
    noise = rng.standard_normal((1, z.shape[1], side, side))
    for latent in (
        mean + std * noise,
        mean + 3.0 * std * noise,
        mean + 2.0 * std + 0.1 * std * noise,
        mean - 2.0 * std + 0.1 * std * noise,
    ):
        yield np.ascontiguousarray(latent, dtype=np.float32)


def _tile(trial: Trial, latent: Array, *, core: int, halo: int) -> Array:
    """The pixels of the middle of a square latent, from a window with a halo."""
    at = (latent.shape[2] - core) // 2 - halo
    window = latent[:, :, at : at + core + 2 * halo, at : at + core + 2 * halo]
    return _core_of(trial.decode(np.ascontiguousarray(window)), core, halo, window.shape[2])


def _core_of(image: Array, core: int, halo: int, side: int) -> Array:
    """The pixels of the core of a square window."""
    factor = image.shape[2] // side
    first, last = halo * factor, (halo + core) * factor
    return image[:, :, first:last, first:last]
