"""The densities over z of one version, and the map from rows of noise to rows of z.

Knows the manifest's priors, mixtures and seeded noise. Knows nothing of graphs, queues or HTTP.

    standard   z = temperature · eps
    fitted     z = mean_c + temperature · cholesky_c eps,   c ~ weights
    learned    the same for u; the version's sampler graph then computes z

With a label and the rule `label_draws`, u is the first of a few candidates with enough p(y|u), or the best.

All use the same eps for the same row of a seed, and c comes from a number of its own, so row i of a seed is
the same for every number of rows. A seed must yield the same z on every machine. Therefore there is no matrix
product: its order of additions and its fused rounding depend on the processor. Products are rounded one by
one in float64, and added in the order of the columns. For few rows `numpy.add.accumulate` adds, whose partial
sums are all part of its result. For many rows one column of all of them is added after the other, with the
same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from model_store import (
    GaussianMixture,
    LabelDraws,
    LabelPosterior,
    LearnedPrior,
    Manifest,
    PriorMixtures,
)
from service.engine.errors import LabelNotApplicable, NoPrior, UnknownLabel
from service.engine.operations.arrays import Float32Array, Float64Array
from service.engine.operations.noise import Place, standard_normal, standard_normal_of, uniform
from service.engine.operations.validation import LATENT_BOUND

STANDARD: Final = "standard"
FITTED: Final = "fitted"
LEARNED: Final = "learned"
#: Products in memory at a time, to fit the cache: 16 rows of 32 latents are 128 kB.
_MAX_PRODUCTS: Final = 16_384
#: From this number of rows on, a column at a time is faster, with four times as many products in memory: 64
#: rows of 32 latents take 120 µs instead of 280, a single one 50 instead of 15.
_MANY_ROWS: Final = 17
_MAX_IN_COLUMNS: Final = 4 * _MAX_PRODUCTS
#: Streams of the candidates after the first begin here, above those of other operations.
_CANDIDATE_STREAM: Final = 1 << 64


class Density(Protocol):
    """One density over z."""

    @property
    def prior(self) -> str:
        """`standard`, `fitted` or `learned`."""

    @property
    def label(self) -> str | None:
        """The label whose images it describes; None: those of all images."""

    @property
    def is_of_u(self) -> bool:
        """Whether `draw` returns u, which the sampler graph of a learned prior maps to z."""

    def draw(self, *, seed: int, first_row: int, rows: int, temperature: float) -> Float32Array:
        """Rows `first_row` … `first_row + rows - 1` of a seed, float32 (rows, latent)."""


class StandardNormal:
    """N(0, temperature² I)."""

    prior = STANDARD
    label = None
    is_of_u = False

    def __init__(self, latent_size: int) -> None:
        self._latent_size = latent_size

    def draw(self, *, seed: int, first_row: int, rows: int, temperature: float) -> Float32Array:
        """See `Density`."""
        eps = standard_normal(seed=seed, first_row=first_row, rows=rows, size=self._latent_size)
        return np.float32(temperature) * eps


class Mixture:
    """Σ_k weights_k N(means_k, temperature² · cholesky_k cholesky_kᵀ).

    The temperature scales the deviation from the mean of a component, and never changes a mean or a weight:
    at 0 only the means themselves are drawn.
    """

    def __init__(self, mixture: GaussianMixture, *, label: str | None, prior: str = FITTED) -> None:
        self.label = label
        self.prior = prior
        self.is_of_u = prior == LEARNED
        self._edges = np.cumsum(mixture.weights)
        self._means = mixture.means.astype(np.float64)
        self._cholesky = mixture.cholesky
        latent = self._means.shape[1]
        self._rows_in_columns = _MAX_IN_COLUMNS // (latent * latent)
        self._columns: NDArray[np.float32] | None = None
        if self._rows_in_columns >= _MANY_ROWS:
            self._columns = np.ascontiguousarray(mixture.cholesky.transpose(0, 2, 1))

    def draw(self, *, seed: int, first_row: int, rows: int, temperature: float) -> Float32Array:
        """See `Density`."""
        latent = self._means.shape[1]
        eps = standard_normal(seed=seed, first_row=first_row, rows=rows, size=latent)
        return self._moved(uniform(seed=seed, first_row=first_row, rows=rows), eps, temperature)

    def draw_candidate(
        self, *, seed: int, rows: Sequence[int], candidate: int, temperature: float
    ) -> Float32Array:
        """Another draw of each of these rows, float32 (rows, latent).

        Args:
            seed: As in `draw`.
            rows: Indices of the rows, at least one.
            candidate: 1 … 63; `draw` is candidate 0.
            temperature: As in `draw`.
        """
        stream = _CANDIDATE_STREAM + candidate
        places = [Place(row, 1, stream) for row in rows]
        eps = standard_normal_of(seed=seed, places=places, size=self._means.shape[1])
        chance = [uniform(seed=seed, first_row=row, rows=1, stream=stream) for row in rows]
        return self._moved(np.concatenate(chance), eps, temperature)

    def _moved(self, chance: Float64Array, normal: Float32Array, temperature: float) -> Float32Array:
        """mean_c + temperature · cholesky_c eps, c by `chance`."""
        component, eps = self._components(chance), normal.astype(np.float64)
        rows, latent = eps.shape
        z = np.empty((rows, latent), np.float32)
        columns = self._columns if rows >= _MANY_ROWS else None
        at_once = self._rows_in_columns if columns is not None else _MAX_PRODUCTS // (latent * latent)
        for part in _parts(rows, max(1, at_once)):
            some, own = component[part], eps[part]
            noise = self._by_rows(some, own) if columns is None else _by_columns(columns[some], own)
            z[part] = self._means[some] + temperature * noise
        # The bound of every decoder input; draws of a prior that describes images never come near it.
        return np.clip(z, -LATENT_BOUND, LATENT_BOUND, out=z)

    def _by_rows(self, component: NDArray[np.intp], eps: Float64Array) -> Float64Array:
        """cholesky_c eps of each row; eps and the result are float64 (rows, latent)."""
        noise = np.empty_like(eps)
        latent = eps.shape[1]
        for some in _parts(latent, max(1, _MAX_PRODUCTS // latent)):
            products = self._cholesky[component, some] * eps[:, np.newaxis, :]
            noise[:, some] = np.add.accumulate(products, axis=2)[:, :, -1]
        return noise

    def _components(self, chance: Float64Array) -> NDArray[np.intp]:
        """The component of each row: the number of cumulative weights that its random number exceeds."""
        passed = np.searchsorted(self._edges, chance, side="right")
        # The weights may add up to slightly less than 1.
        return np.minimum(passed, len(self._edges) - 1)


def _by_columns(columns: NDArray[np.float32], eps: Float64Array) -> Float64Array:
    """The same to the last bit; `columns` (rows, latent, latent) is each row's cholesky_c, transposed."""
    noise: Float64Array = columns[:, 0] * eps[:, :1]
    for at in range(1, eps.shape[1]):
        noise += columns[:, at] * eps[:, at : at + 1]
    return noise


class LabelCandidates:
    """Draws of one label: the first candidate with p(y|u) ≥ `rule.probability`, or the best of them.

    The first candidate of a row is its draw without the rule. Each later one has noise of its own, and the
    choice depends on no other row, so row i of a seed is the same for every number of rows. The map from u to
    z is the same for all labels, so p(y|u) is p(y|z).
    """

    def __init__(self, mixture: Mixture, posterior: LabelPosterior, *, number: int, rule: LabelDraws) -> None:
        """Keep the parts.

        Args:
            mixture: That of the label.
            posterior: That of all labels.
            number: The label's number in it.
            rule: That of the version.
        """
        self.prior = mixture.prior
        self.label = mixture.label
        self.is_of_u = mixture.is_of_u
        self._mixture = mixture
        self._posterior = posterior
        self._number = number
        self._rule = rule

    def draw(self, *, seed: int, first_row: int, rows: int, temperature: float) -> Float32Array:
        """See `Density`."""
        u = self._mixture.draw(seed=seed, first_row=first_row, rows=rows, temperature=temperature)
        best = self._posterior.probability(u, label=self._number)
        for candidate in range(1, self._rule.candidates):
            (left,) = np.nonzero(best < self._rule.probability)
            if not len(left):
                break
            others = self._mixture.draw_candidate(
                seed=seed, rows=(first_row + left).tolist(), candidate=candidate, temperature=temperature
            )
            found = self._posterior.probability(others, label=self._number)
            better = found > best[left]
            u[left[better]] = others[better]
            best[left[better]] = found[better]
        return u


class Priors:
    """Every density that one version can be sampled from."""

    def __init__(self, manifest: Manifest, mixtures: PriorMixtures | None, *, model: str) -> None:
        """Build each of them once.

        Args:
            manifest: Lists the priors.
            mixtures: The mixtures of the fitted or learned prior, if it lists one.
            model: `name@version`, for messages.
        """
        self._model = model
        self._is_imported = manifest.is_imported
        self._by_prior: dict[str, Density] = {}
        self._by_label: dict[str, Density] = {}
        if any(prior.name == STANDARD for prior in manifest.priors):
            self._by_prior[STANDARD] = StandardNormal(manifest.latent_size)
        entry = manifest.mixture_prior
        if entry is not None:
            assert mixtures is not None, "verified with the manifest"
            whole, *labelled = mixtures.split(entry)
            self._by_prior[entry.name] = Mixture(whole, label=None, prior=entry.name)
            by_label = {
                each.label: Mixture(mixture, label=each.label, prior=entry.name)
                for each, mixture in zip(entry.labels, labelled, strict=True)
            }
            rule = entry.label_draws if isinstance(entry, LearnedPrior) else None
            if rule is None:
                self._by_label = dict(by_label)
            else:
                posterior = LabelPosterior(labelled, [each.share for each in entry.labels])
                self._by_label = {
                    label: LabelCandidates(mixture, posterior, number=number, rule=rule)
                    for number, (label, mixture) in enumerate(by_label.items())
                }

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels whose images can be requested, in the manifest's order."""
        return tuple(self._by_label)

    def choose(self, *, prior: str | None, label: str | None) -> Density:
        """The requested density, or the best that the version has.

        Args:
            prior: `standard`, `fitted` or `learned`; None is `learned` or `fitted` if there is one, otherwise
                `standard`.
            label: Label of the images to draw; None is all of them. `standard` has no labels.

        Raises:
            NoPrior: The version has no such prior, or none at all.
            LabelNotApplicable: A label, with the prior `standard`.
            UnknownLabel: No such label in this version.
        """
        if prior is None:
            has_own = [name for name in (LEARNED, FITTED) if name in self._by_prior]
            prior = has_own[0] if has_own else FITTED if label is not None else STANDARD
        elif prior == STANDARD and label is not None:
            raise LabelNotApplicable
        if prior not in self._by_prior:
            raise self._no_prior(prior)
        if label is None:
            return self._by_prior[prior]
        if label not in self._by_label:
            raise UnknownLabel(self._model, self.labels, label=label)
        return self._by_label[label]

    def _no_prior(self, prior: str) -> NoPrior:
        if not self._by_prior:
            return NoPrior(self._model, imported=self._is_imported)
        return NoPrior(self._model, asked=prior, has=tuple(self._by_prior))


def _parts(rows: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))
