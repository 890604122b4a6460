"""Each call as a generator: it yields requests, receives their answers, and returns a result.

Knows the API, limits and versions. Knows nothing of connections: `Client` and `AsyncClient` both drive these.
"""

from __future__ import annotations

import operator
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vae_client import arrays
from vae_client.answers import ModelSummary
from vae_client.context import Context
from vae_client.errors import InvalidInput, NotSplittable
from vae_client.images_in import ImagesLike, batches_of
from vae_client.latents import Latents
from vae_client.results import (
    Images,
    LatentImages,
    LatentPath,
    Posterior,
    Reconstructions,
    Result,
    Samples,
    Scores,
)
from vae_client.server_limits import (
    fitting,
    known_limit,
    latent_rank,
    rows_in_one,
    rows_in_one_stream,
    summary,
)
from vae_client.wire import NPY, NPZ, Answer, Body, Call, Plan

Fit = Literal["contain", "cover", "stretch", "mnist"]
Invert = Literal["no", "yes", "auto"]
Prior = Literal["standard", "fitted", "learned"]
#: Latents of some version, or an array of their shape.
LatentsLike = Any

_SEEDS = 2**53


def new_seed() -> int:
    """A seed, which the client chooses so that every request can be repeated."""
    return secrets.randbelow(_SEEDS)


def whole(name: str, value: object) -> int:
    """A number that must be an integer; the server checks its range.

    Raises:
        InvalidInput: It is none.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidInput(f"{name}: expected an integer, got {value!r}.") from None


def models() -> Plan[list[ModelSummary]]:
    """The versions that the server has loaded."""
    answer = yield Call("GET", "/models")
    found: list[ModelSummary] = answer.json()["models"]
    return found


def label_of(context: Context, to: Result | Latents | str | None) -> Plan[str]:
    """Label of a version: of a result, of the last answer, or of what the client's reference means."""
    if isinstance(to, str):
        return to
    if to is not None:
        if to.model is None:
            raise InvalidInput("pinned: expected latents with a version, got some without.")
        return to.model
    if context.answered is not None:
        return context.answered
    reference = context.model
    if reference is None:
        answer = yield Call("GET", "/models")
        reference = str(answer.json()["default"])
    answer = yield Call("GET", f"/models/{quote(reference, safe='@')}")
    return context.note(answer)


def sample(
    context: Context,
    n: int,
    *,
    seed: int | None,
    temperature: float | None,
    prior: Prior | None,
    label: str | int | None,
) -> Plan[Samples]:
    """Images drawn from a prior; more than one answer can contain as npy, which has no latents."""
    is_long = False
    n = whole("n", n)
    if n > 1:
        is_long = n > (yield from rows_in_one(context))
    if is_long:
        yield from _refuse_above_one_seed(context, n)
    query = context.query(
        n=n, seed=new_seed() if seed is None else seed, temperature=temperature, prior=prior, label=label
    )
    answer = yield Call("GET", "/sample.npy" if is_long else "/sample.npz", query)
    context.note(answer)
    if is_long:
        return drawn(answer, answer.npy(), None, label)
    read = answer.npz()
    return drawn(answer, read["images"], Latents(read["z"], answer.model), label)


def _refuse_above_one_seed(context: Context, n: int) -> Plan[None]:
    most = yield from rows_in_one_stream(context)
    if n > most:
        raise NotSplittable(
            f"n: expected at most {most} (max_stream_images and max_stream_values of the server), got {n}. "
            "Every request begins at row 0 of its seed, so several requests are not the draw of one seed. "
            "sample_many takes another seed for each block of 65,536."
        )


def drawn(
    answer: Answer, images: NDArray[Any], z: Latents | None, label: str | int | None, first_row: int = 0
) -> Samples:
    """Samples of an answer of /sample."""
    headers = answer.headers
    return Samples(
        model=answer.model,
        timing=answer.timing,
        request_id=answer.request_id,
        images=images,
        latents=z,
        seed=int(headers["x-seed"]),
        prior=headers["x-prior"],
        label=None if label is None else str(label),
        temperature=float(headers["x-temperature"]),
        first_row=first_row,
    )


def encode(
    context: Context, images: ImagesLike, *, fit: Fit | None, invert: Invert | None, resize: bool | None
) -> Plan[Posterior]:
    """The posterior of each image."""
    answers = yield from _of_images(
        context, "/encode.npz", images, {"fit": fit, "invert": invert, "resize": resize}
    )
    read = [answer.npz() for answer in answers]
    return Posterior(
        **_facts(answers),
        mu=_latents(answers, read, "mu"),
        logvar=_latents(answers, read, "logvar"),
        pictures=_pictures(answers),
        warnings=_warnings(answers),
    )


def decode(context: Context, z: LatentsLike) -> Plan[Images]:
    """The image of each latent."""
    expected = context.expect_version([z])
    rows = yield from rows_of_latents(context, z)
    at_a_time = len(rows)
    if at_a_time > 1:
        most = yield from rows_in_one(context, rows.shape[1:], is_latent=True)
        room = yield from known_limit(context, "max_body_bytes")
        at_a_time = max(1, min(most, room // 2 // rows[:1].nbytes))
    answers: list[Answer] = []
    for first in range(0, len(rows), at_a_time):
        body = Body(arrays.to_npy(rows[first : first + at_a_time]), NPY)
        query = context.query(answers[0].model if answers else None)
        answer = yield Call("POST", "/decode.npy", query, body, first, expected)
        context.note(answer)
        answers.append(answer)
    return Images(**_facts(answers), images=_joined([answer.npy() for answer in answers]))


def reconstruct(
    context: Context,
    images: ImagesLike,
    *,
    sample: bool,
    seed: int | None,
    fit: Fit | None,
    invert: Invert | None,
    resize: bool | None,
) -> Plan[Reconstructions]:
    """Each image encoded and decoded."""
    query: dict[str, object] = {"fit": fit, "invert": invert, "resize": resize}
    if sample:
        seed = new_seed() if seed is None else seed
        query |= {"sample": True, "seed": seed}
    reason = "z of image i comes from row i of the seed" if sample else ""
    answers = yield from _of_images(context, "/reconstruct.npz", images, query, one_request=reason)
    read = [answer.npz() for answer in answers]
    return Reconstructions(
        **_facts(answers),
        images=_joined([each["images"] for each in read]),
        latents=_latents(answers, read, "z"),
        seed=seed if sample else None,
        pictures=_pictures(answers),
        warnings=_warnings(answers),
    )


def score(
    context: Context,
    images: ImagesLike,
    *,
    importance_samples: int | None,
    seed: int | None,
    binarise: Literal["dynamic", "none"] | None,
    flag: bool | None,
    fit: Fit | None,
    invert: Invert | None,
    resize: bool | None,
) -> Plan[Scores]:
    """How likely the model finds each image."""
    seed = new_seed() if seed is None else seed
    query: dict[str, object] = {
        "importance_samples": importance_samples, "seed": seed, "binarise": binarise, "flag": flag,
        "fit": fit, "invert": invert, "resize": resize,
    }  # fmt: skip
    # JSON with flags, because `flagged_by` is a word, which npz lacks. Its numbers are the same float64.
    path = "/score" if flag else "/score.npz"
    answers = yield from _of_images(
        context, path, images, query, one_request="the draws of image i come from row i of the seed"
    )
    read: Mapping[str, Any] = _figures(answers[0].json()) if flag else answers[0].npz()
    return Scores(
        **_facts(answers),
        seed=seed,
        reconstruction_nll=read["reconstruction_nll"],
        kl=read["kl"],
        elbo=read["elbo"],
        bits_per_dim=read["bits_per_dim"],
        log_px=read.get("log_px"),
        bits_per_dim_iw=read.get("bits_per_dim_iw"),
        flags=read.get("flags"),
        flagged_by=read.get("flagged_by"),
        rate=read.get("rate"),
        threshold=read.get("threshold"),
        reconstruction_nll_quantile=read.get("reconstruction_nll_quantile"),
        kl_quantile=read.get("kl_quantile"),
        negative_elbo_quantile=read.get("negative_elbo_quantile"),
        pictures=_pictures(answers),
        warnings=_warnings(answers),
    )


def _figures(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The lists of a JSON answer as arrays: bool, or float64."""
    dtypes = {"flags": np.bool_}
    return {
        name: np.array(value, dtypes.get(name, np.float64)) if isinstance(value, list) else value
        for name, value in answer.items()
    }


def interpolate(
    context: Context,
    start: Any,
    end: Any,
    *,
    steps: int,
    method: Literal["slerp", "lerp"] | None,
    fit: Fit | None,
    invert: Invert | None,
    resize: bool | None,
) -> Plan[LatentPath]:
    """Images on the path between two images or latents."""
    ends = [latents_in(start), latents_in(end)]
    picture_query: dict[str, object] = {"fit": fit, "invert": invert, "resize": resize}
    body: Body | None = None
    if all(each is None for each in ends):
        batches = batches_of([start, end])
        if len(batches) == 1:
            body = batches[0].body()
    if body is None:
        rows = []
        for given, latents in zip((start, end), ends, strict=True):
            if latents is not None:
                rows.append(latents)
                continue
            posterior = yield from encode(context, given, fit=fit, invert=invert, resize=resize)
            rows.append(posterior.mu)
        expected = context.expect_version(rows)
        parts = []
        for each in rows:
            parts.append((yield from rows_of_latents(context, each)))
        first, last = (part.shape[1:] for part in parts)
        if first != last:
            raise InvalidInput(f"start and end: expected latents of one shape, got {first} and {last}.")
        body = Body(arrays.to_npz(z=np.concatenate(parts)), NPZ)
        picture_query = {}
    else:
        expected = None
    query = context.query(None, steps=steps, method=method, **picture_query)
    answer = yield Call("POST", "/interpolate.npz", query, body, version=expected)
    return _path(context, answer)


def traverse(
    context: Context,
    start: Any,
    *,
    dims: int | Iterable[int] | None,
    steps: int | None,
    spacing: Literal["quantile", "linear"] | None,
    span: float | None,
    fit: Fit | None,
    invert: Invert | None,
    resize: bool | None,
) -> Plan[LatentPath]:
    """Images along one or two latent dimensions, from an image, a latent or the origin."""
    query = context.query(
        dims=dims, steps=steps, spacing=spacing, span=span, fit=fit, invert=invert, resize=resize
    )
    if start is None:
        answer = yield Call("GET", "/traverse.npz", query)
        return _path(context, answer)
    latents = latents_in(start)
    if latents is None:
        batches = batches_of(start)
        if len(batches) > 1 or len(batches[0]) > 1:
            raise InvalidInput(f"start: expected one image or latent, got {sum(map(len, batches))}.")
        answer = yield Call("POST", "/traverse.npz", query, batches[0].body())
        return _path(context, answer)
    expected = context.expect_version([latents])
    body = Body(arrays.to_npz(z=(yield from rows_of_latents(context, latents))), NPZ)
    answer = yield Call("POST", "/traverse.npz", query, body, version=expected)
    return _path(context, answer)


def _path(context: Context, answer: Answer) -> LatentPath:
    context.note(answer)
    read = answer.npz()
    return LatentPath(**_facts([answer]), images=read["images"], latents=Latents(read["z"], answer.model))


def latents_in(value: Any) -> Any:
    """The latents of a value, or None if it is images: an array of one or two axes is latents."""
    if isinstance(value, Posterior):
        return value.mu
    if isinstance(value, LatentImages):
        return value.latents
    is_latents = isinstance(value, Latents) or (isinstance(value, np.ndarray) and value.ndim <= 2)
    return value if is_latents else None


def rows_of_latents(context: Context, z: LatentsLike) -> Plan[NDArray[np.float32]]:
    """Latents as float32 (N, latent), or (N, c, h, w) and the like of an imported model.

    One or two axes are flat latents. With more, the model says whether the first axis counts rows.

    Raises:
        InvalidInput: They are no numbers, or have the shape of no latent of this model.
    """
    found = latents_in(z)
    try:
        rows = np.atleast_2d(np.asarray(z if found is None else found, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"z: expected numbers, (N, latent): {error}") from error
    if rows.size and rows.ndim > 2:
        model = yield from summary(context)
        rank = latent_rank(model)
        if rows.ndim == rank:
            rows = rows[np.newaxis]
        if rows.ndim != rank + 1:
            raise InvalidInput(
                f"z: expected {rank + 1} axes, or {rank} for one latent of {model['model']}, got shape "
                f"{rows.shape}."
            )
    if rows.size == 0:
        raise InvalidInput(f"z: expected (N, latent) with at least one row, got shape {rows.shape}.")
    return rows


def _of_images(
    context: Context, path: str, images: ImagesLike, query: dict[str, object], *, one_request: str = ""
) -> Plan[list[Answer]]:
    """The answers for all images, each for as many as the server takes, all by one version."""
    batches = yield from fitting(context, images, query)
    if one_request and len(batches) > 1:
        raise NotSplittable(
            f"images: {sum(map(len, batches))} need {len(batches)} requests, because of max_images, "
            "max_values, max_body_bytes or max_picture_pixels of limits(), or because arrays and picture "
            f"files need separate ones. But {one_request}, so the parts would not be the result of one seed. "
            f"Call it for each part, at most {max(map(len, batches))} images, with a seed of its own."
        )
    answers: list[Answer] = []
    first = 0
    for batch in batches:
        version = answers[0].model if answers else None
        answer = yield Call("POST", path, context.query(version, **query), batch.body(), first)
        context.note(answer)
        answers.append(answer)
        first += len(batch)
    return answers


def _facts(answers: Sequence[Answer]) -> dict[str, Any]:
    timing = answers[0].timing
    for answer in answers[1:]:
        timing = timing + answer.timing
    return {"model": answers[0].model, "timing": timing, "request_id": answers[-1].request_id}


def _latents(answers: Sequence[Answer], read: Sequence[dict[str, NDArray[Any]]], name: str) -> Latents:
    return Latents(_joined([each[name] for each in read]), answers[0].model)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The rows of all parts.

    Raises:
        InvalidInput: The images of a model of open sizes had several.
    """
    rows = sorted({part.shape[1:] for part in parts})
    if len(rows) > 1:
        raise InvalidInput(
            "images: expected one size, because one result has rows of one shape, got results of "
            f"{rows[0]} and {rows[1]}. Call it for the images of each size."
        )
    return np.concatenate(parts)


def _pictures(answers: Sequence[Answer]) -> str | None:
    return " | ".join(answer.pictures for answer in answers if answer.pictures) or None


def _warnings(answers: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(warning for answer in answers for warning in answer.warnings)
