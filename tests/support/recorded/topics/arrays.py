"""/encode, /decode, /reconstruct, /score and /nearest: every body and every form of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from recorded.models import Floats, black_and_white, steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, bits, documents, json_of, npy, npz, png, ramp, raw_json

GREY = (1, 4, 6)
COLOUR = (3, 2, 4)


def _images() -> Iterator[tuple[str, Payload]]:
    """Images for the default model in every form, each with its name."""
    two = steps(2, GREY)
    yield "JSON", json_of({"images": two})
    yield "JSON without the axis of channels", json_of({"images": two[:, 0]})
    yield "JSON of whole numbers", json_of({"images": black_and_white(1, GREY).astype(int)})
    yield (
        "JSON of negative zero",
        raw_json(b'{"images":[[[-0.0' + b",0" * 5 + b"]" + b",[0,0,0,0,0,0]" * 3 + b"]]}"),
    )
    yield "float32", npy(two)
    yield "float64", npy(two.astype(np.float64))
    yield "float16", npy(two.astype(np.float16))
    yield "big-endian float32", npy(two.astype(">f4"))
    yield "Fortran order", npy(np.asfortranarray(two))
    yield "levels", npy((np.arange(48, dtype=np.uint8) * 5).reshape(2, *GREY))
    yield "levels without the axis of channels", npy((np.arange(24, dtype=np.uint8) * 10).reshape(1, 4, 6))
    yield "npy version 2", npy(two[:1], version=2)
    yield "grey", png(6, 4, ramp(24))


def encode(notebook: Notebook) -> None:
    """Every body, both forms of the answer."""
    with notebook.application("images to their posterior") as ask:
        for _, payload in _images():
            ask.post("/encode", payload)
        for suffix in (".json", ".npz"):
            ask.post(f"/encode{suffix}", json_of({"images": steps(3, GREY, offset=1)}))
            ask.post(f"/encode{suffix}", npy(steps(1, GREY)))
            ask.post(f"/encode{suffix}", png(6, 4, ramp(24)))
        ask.post("/encode?invert=true", png(6, 4, ramp(24)))
        ask.post("/encode?resize=true", png(12, 8, ramp(96)))
        ask.post("/encode?resize=false&invert=false", png(6, 4, bits([1, 0, 1, 1, 0, 1]) * 4, depth=1))
        for model in ("mnist", "mnist@1", "mnist@2", "mnist@stable", "mnist@candidate", "mnist@3", "plain"):
            ask.post(f"/encode?model={model}", npy(steps(1, GREY)))
        ask.post("/encode?model=colour", json_of({"images": steps(1, COLOUR)}))
        ask.post("/encode?model=colour", npy(steps(2, COLOUR)))
        ask.post("/encode?model=colour", png(4, 2, ramp(24), colour=2))
        ask.post("/encode?model=deep", json_of({"images": steps(2, (2, 2, 2))}))
        ask.post("/encode?model=deep", png(2, 2, ramp(4)))
        ask.post("/encode", npy(steps(40, GREY)))
        ask.ask(
            "POST",
            "/encode",
            [("content-type", "application/json")],
            json_of({"images": steps(1, GREY)}),
            parts=3,
        )
        ask.post("/encode", {"images": steps(1, GREY)}, x_request_id="mine-1.a:b_c")
        ask.post("/encode", {"images": steps(1, GREY)}, x_request_id="not kept: it has spaces")


def decode(notebook: Notebook) -> None:
    """Both bodies, every form of the answer."""
    two = (np.arange(6, dtype=np.float32).reshape(2, 3) - np.float32(2.5)) / 2
    with notebook.application("latents to images") as ask:
        ask.post("/decode.json", json_of({"z": two}))
        for suffix in ("", ".npy", ".npz", ".png", ".txt"):
            ask.post(f"/decode{suffix}", json_of({"z": two}))
            ask.post(f"/decode{suffix}", npy(two[:1]))
        for array in (
            two.astype(np.float64),
            two.astype(np.float16),
            two.astype(">f8"),
            np.asfortranarray(two),
        ):
            ask.post("/decode", npy(array))
        ask.post("/decode", raw_json(b'{"z":[[1,-2,1e-3],[0.1,1E1,-0]]}'))
        ask.post("/decode", {"z": [[10_000, -10_000, 0]]})
        ask.post("/decode.png?scale=3", {"z": two})
        ask.post("/decode.png?scale=2&columns=1", {"z": two})
        ask.post("/decode.txt?columns=1", {"z": two})
        ask.post("/decode.txt", npy(np.zeros((12, 3), np.float32)))
        ask.post("/decode.png", npy(np.zeros((7, 3), np.float32)))
        ask.post("/decode?scale=5&columns=2", {"z": two})
        for suffix in ("", ".png", ".npy", ".txt"):
            ask.post(f"/decode{suffix}?model=colour", {"z": [[0.5, -1]]})
            ask.post(f"/decode{suffix}?model=deep", {"z": [[0.5], [1.5]]})
        ask.post("/decode?model=plain", {"z": [[1, 2, 3]]})
        ask.post("/decode?model=fragile", {"z": [[1, 2, 3]]})
        ask.post("/decode?model=fragile", {"z": [[1, 0, 3]]})
        ask.post("/decode?model=broken", {"z": [[1, 0, 3]]})
        ask.post("/decode.npy", npy(_many_latents(40)))


def _many_latents(count: int) -> Floats:
    return ((np.arange(count * 3) % 17 - 8) / 4).astype(np.float32).reshape(count, 3)


def reconstruct(notebook: Notebook) -> None:
    """Every body, every form, z as mean and as draw."""
    with notebook.application("images through the model and back") as ask:
        for _, payload in islice(_images(), 0, None, 3):
            ask.post("/reconstruct", payload)
        two = black_and_white(2, GREY)
        ask.post("/reconstruct.json", json_of({"images": two}))
        for suffix in ("", ".npy", ".npz", ".png", ".txt"):
            ask.post(f"/reconstruct{suffix}", json_of({"images": two}))
            ask.post(f"/reconstruct{suffix}?sample=true&seed=7", npy(two))
            ask.post(f"/reconstruct{suffix}", png(6, 4, ramp(24, step=37)))
        ask.post("/reconstruct", {"images": two, "sample": True, "seed": 7})
        ask.post("/reconstruct", {"images": two[:1], "sample": True, "seed": 7})
        ask.post("/reconstruct?seed=9", {"images": two[:1], "sample": True})
        ask.post("/reconstruct", {"images": two, "sample": False, "seed": 7})
        ask.post("/reconstruct?sample=false", {"images": two})
        ask.post("/reconstruct", {"images": two, "sample": True, "seed": 9_007_199_254_740_991})
        ask.post("/reconstruct?sample=true&seed=1", {"images": steps(1, GREY, offset=3)})
        ask.post("/reconstruct.png?scale=4&columns=2", {"images": two})
        ask.post("/reconstruct.txt?columns=1", {"images": two})
        ask.post("/reconstruct.png?resize=true&invert=true", png(12, 8, ramp(96)))
        ask.post("/reconstruct?model=colour&sample=true&seed=3", {"images": black_and_white(1, COLOUR)})
        ask.post("/reconstruct.png?model=colour&resize=true", png(8, 4, ramp(96), colour=2))
        ask.post("/reconstruct?model=plain", {"images": two})
        ask.post("/reconstruct?model=plain&sample=true&seed=3", {"images": two})
        ask.post("/reconstruct?model=fragile", {"images": two})
        ask.post_unseeded("/reconstruct?sample=true", json_of({"images": two}))


def score(notebook: Notebook) -> None:
    """Every body, every form, both likelihoods. Only where logarithms are exact: see `recorded.models`."""
    two = black_and_white(2, GREY)
    with notebook.application("how likely the model finds images", default_model="binary") as ask:
        for suffix in ("", ".json", ".npz", ".txt"):
            ask.post(f"/score{suffix}?seed=7", json_of({"images": two}))
            ask.post(f"/score{suffix}?seed=7&importance_samples=1", npy(two))
            ask.post(f"/score{suffix}?seed=7", png(6, 4, bits([1, 0, 1, 1, 0, 1]) * 4, depth=1))
        ask.post("/score", {"images": two, "seed": 7, "importance_samples": 1})
        ask.post("/score", {"images": two[:1], "seed": 8, "importance_samples": 1, "binarise": "none"})
        ask.post("/score?binarise=none&seed=8", {"images": two})
        ask.post("/score?binarise=dynamic&seed=8", {"images": two})
        # Grey pixels are drawn by the seed; those that decide logvar are 0 and 1.
        grey = steps(2, GREY)
        ask.post("/score?seed=11", {"images": grey})
        ask.post("/score?seed=12", {"images": grey})
        ask.post("/score?binarise=none&seed=12", {"images": grey})
        # All draws of an image are equal where logvar is -256.
        narrow = np.ones((2, *GREY), np.float32)
        narrow[1, 0, 3] = 0.0
        ask.post("/score?importance_samples=4&seed=5", {"images": narrow})
        ask.post("/score.npz?importance_samples=64&seed=5", npy(narrow))
        ask.post("/score?model=plain", {"images": two})
        ask.post("/score?flag=true&seed=7", {"images": two})
        ask.post("/score", {"images": two[:1], "seed": 7, "flag": False})
        ask.post("/score?flag=false&seed=8", {"images": two[:1]})
        ask.post("/score?flag=true&model=plain", {"images": two})
        ask.post("/score?invert=true&seed=2", png(6, 4, bits([1, 0, 1, 1, 0, 1]) * 4, depth=1))
        ask.post("/score?resize=true&seed=2", png(12, 8, b"\xff\xff" * 48))
        ask.post_unseeded("/score", json_of({"images": two}))
    with notebook.application("a Gaussian likelihood", default_model="colour") as ask:
        ask.post("/score?seed=7", {"images": steps(2, COLOUR)})
        ask.post("/score?seed=7&binarise=none&importance_samples=1", {"images": black_and_white(2, COLOUR)})
        ask.post("/score?seed=7&binarise=dynamic", {"images": black_and_white(1, COLOUR)})


def nearest(notebook: Notebook) -> None:
    """Both kinds of queries, both distances, both formats. logvar of these images is 0."""
    latents = np.array([[0, 0, 0], [3, 4, 0], [1, 2, 2], [0, 0, 0], [-8, 0, 6], [2, 3, 6]], np.float32)
    z = np.array([[0, 0, 0], [2, 2, 3]], np.float32)
    images = np.zeros((2, *GREY), np.float32)
    images[1, 0, 0, 5], images[1, 0, 3, 5] = 0.5, 0.25
    with notebook.application("the nearest of stored latents") as ask:
        for suffix in ("", ".json", ".npz"):
            ask.post(f"/nearest{suffix}?k=3", json_of({"z": z, "latents": latents}))
            ask.post(f"/nearest{suffix}?k=2", npz(images=images, latents=latents))
        ask.post("/nearest", {"z": z, "latents": latents})
        ask.post("/nearest", {"images": images[:, 0], "latents": latents, "k": 6, "distance": "euclidean"})
        ask.post("/nearest?k=6&distance=mahalanobis", {"images": images, "latents": latents})
        ask.post("/nearest?distance=euclidean", npz(z=z.astype(np.float64), latents=latents.astype(">f4")))
        ask.post("/nearest?model=plain&k=2", npz(images=images, latents=latents))
        ask.post("/nearest?model=colour", {"z": [[1, 1]], "latents": [[4, 5], [1, 1]]})
    with notebook.application("no neighbours") as ask:
        for document in documents(
            {},
            {"z": z},
            {"latents": latents},
            {"z": z, "images": images, "latents": latents},
            {"z": z, "latents": latents[:, :2]},
            {"z": z, "latents": []},
            {"z": z, "latents": latents, "k": 7},
            {"z": z, "latents": latents, "k": 0},
            {"z": z, "latents": latents, "k": 20_000},
            {"z": z, "latents": latents, "distance": "manhattan"},
            {"z": z, "latents": latents, "distance": "mahalanobis"},
            {"z": z, "latents": latents * 4096},
        ):
            ask.post("/nearest", document)
        ask.post("/nearest?k=2", {"z": z, "latents": latents, "k": 2})
        ask.post("/nearest?model=plain&distance=mahalanobis", {"images": images, "latents": latents})
        ask.post("/nearest", npz(z=z, latents=latents[:, :2]))
        ask.post("/nearest", npz(z=z, stored=latents))
        ask.post("/nearest", npz(z=z))
        ask.post("/nearest", Payload(npz(z=z, latents=latents).data[:-1], "application/x-npz", "(npz, cut)"))
        ask.post("/nearest", npy(z))
        ask.post("/nearest.txt", npz(z=z, latents=latents))
