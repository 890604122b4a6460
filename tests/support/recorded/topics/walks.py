"""/interpolate and /traverse: every body, every form, every geometry."""

from __future__ import annotations

import numpy as np

from recorded.models import black_and_white, steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, documents, json_of, npy, png, ramp, raw_json

_GREY = (1, 4, 6)
_FORMS = ("", ".npy", ".npz", ".png", ".txt")


def interpolate(notebook: Notebook) -> None:
    """Between two images and between two latents, straight and along an arc."""
    images = {"images": steps(2, _GREY)}
    ends = {"z": [[1, 0, 0], [0, 2, 0]]}
    with notebook.application("images on the way between two") as ask:
        for suffix in _FORMS:
            ask.post(f"/interpolate{suffix}?steps=3&method=lerp", ends)
            ask.post(f"/interpolate{suffix}?steps=3", npy(steps(2, _GREY)))
        ask.post("/interpolate", images)
        ask.post("/interpolate.txt", images)
        ask.post("/interpolate.json?steps=2", images)
        ask.post("/interpolate", {**ends, "steps": 5, "method": "slerp"})
        ask.post("/interpolate", {**ends, "steps": 4, "method": "lerp"})
        ask.post("/interpolate?method=slerp", {**ends, "steps": 2})
        ask.post("/interpolate?steps=4", {"images": steps(2, _GREY)[:, 0], "method": "lerp"})
        for pair in (
            [[0, 0, 0], [1, 1, 1]],
            [[1, 1, 1], [2, 2, 2]],
            [[1, 2, 3], [-1, -2, -3]],
            [[1, 2, 3], [1, 2, 3]],
            [[0.5, -1, 2], [3, 0.25, -1]],
            [[9000, 0, 0], [0, 9000, 0]],
        ):
            ask.post("/interpolate?steps=3", {"z": pair})
        ask.post("/interpolate?model=plain&steps=3", ends)
        ask.post("/interpolate?model=plain&steps=3&method=slerp", ends)
        ask.post("/interpolate?model=plain&steps=3", images)
        ask.post("/interpolate.png?steps=6&columns=3&scale=2", ends)
        ask.post("/interpolate.txt?steps=6&columns=2", ends)
        ask.post("/interpolate.txt?model=colour", {"z": [[1, 0], [0, 1]]})
    with notebook.application("no way between two") as ask:
        for document in documents(
            {"z": [[1, 2, 3]]},
            {"z": [[1, 2, 3]] * 3},
            {"images": steps(1, _GREY)},
            {"images": steps(3, _GREY)},
            {},
            {**images, **ends},
            {**ends, "steps": 1},
            {**ends, "steps": 257},
            {**ends, "method": "around"},
            {**ends, "n": 3},
            {"z": [[9000, 9000, 0], [0, 9000, 0]]},
            {"z": [[20000, 0, 0], [0, 1, 0]]},
        ):
            ask.post("/interpolate", document)
        ask.post("/interpolate?steps=3", {**ends, "steps": 3})
        ask.post("/interpolate?method=lerp", {**ends, "method": "lerp"})
        ask.post("/interpolate", npy(steps(1, _GREY)))
        ask.post("/interpolate", png(6, 4, ramp(24)))
        ask.post("/interpolate", Payload(b"", None))
        ask.post("/interpolate?model=fragile&steps=3", {"z": [[1, 1, 1], [-1, -1, -1]]})


def traverse(notebook: Notebook) -> None:
    """From the origin, an image and a latent; one dimension and two; both spacings."""
    image = {"images": black_and_white(1, _GREY)}
    with notebook.application("a grid of images") as ask:
        for suffix in _FORMS:
            ask.get(f"/traverse{suffix}?steps=2")
            ask.get(f"/traverse{suffix}?steps=3&dims=2")
        ask.post("/traverse?steps=2", image)
        ask.post("/traverse?steps=2&dims=1,0", npy(steps(1, _GREY)))
        ask.post("/traverse?steps=2&dims=0", png(6, 4, ramp(24)))
        ask.post("/traverse", {"z": [[1, 2, 3]], "steps": 2, "dims": [0]})
        ask.post("/traverse.npz?steps=2", image)
        ask.post("/traverse.npy?steps=2", image)
        ask.post("/traverse.txt?steps=2&dims=1,0", npy(steps(1, _GREY)))
        ask.post("/traverse.json", {"z": [[1, 2, 3]], "steps": 2, "dims": [0]})
        for query in (
            "dims=0",
            "dims=0&steps=5&spacing=linear",
            "dims=0&steps=5&spacing=quantile",
            "dims=0&steps=4&span=0.5",
            "dims=0&steps=4&span=10&spacing=linear",
            "dims=2,1&steps=2&span=0.001",
            "dims=0&steps=3&model=plain",
            "dims=0&steps=3&model=plain&spacing=linear",
            "model=deep&steps=3",
            "model=colour&steps=2",
        ):
            ask.get(f"/traverse?{query}")
        ask.get("/traverse.npy")
        ask.get("/traverse.txt")
        ask.ask("GET", "/traverse.txt", [("if-none-match", "*")])
        ask.ask("GET", "/traverse.txt?steps=0", [("if-none-match", "*")])
        ask.get("/traverse.png?steps=3&scale=2&columns=2")
        ask.get("/traverse?steps=2&resize=true&invert=true")
        ask.get("/traverse?steps=2&fit=contain")
        ask.post(
            "/traverse.png?scale=2&columns=2&model=plain&spacing=linear&span=1", {"steps": 3, "dims": [0]}
        )
        ask.post("/traverse?steps=2", Payload(b"", None))
        ask.post("/traverse", raw_json(b"{}"))
        ask.post("/traverse", {"steps": 2, "dims": [1], "spacing": "linear", "span": 3})
        ask.post("/traverse?resize=true&invert=true&steps=2&dims=0", png(12, 8, ramp(96)))
        for target in (
            "/traverse",
            "/traverse.npy?steps=3&dims=2",
            "/traverse.png?steps=8&dims=0,1",
            "/traverse.txt?steps=3",
            "/traverse?steps=17",
            "/traverse?dims=3",
        ):
            ask.ask("HEAD", target)
    with notebook.application("no such grid") as ask:
        for query in (
            "steps=1",
            "steps=17",
            "steps=257&dims=0",
            "dims=",
            "dims=3",
            "dims=0,0",
            "dims=0,1,2",
            "dims=-1",
            "dims=a",
            "dims=65536",
            "span=0",
            "span=11",
            "spacing=even",
            "model=plain&spacing=quantile",
            "model=fragile&steps=3&dims=0",
        ):
            ask.get(f"/traverse?{query}")
        for document in documents(
            {"dims": []},
            {"dims": [0, 1, 2]},
            {"dims": [True]},
            {"dims": 0},
            {"dims": [0.0]},
            {"dims": ["0"]},
            {"dims": [5]},
            {"span": "2"},
            {"z": [[1, 2, 3], [1, 2, 3]]},
            {"z": [[1, 2, 3]], **image},
            {"images": steps(2, _GREY)},
            {"z": np.zeros((1, 2))},
            {"steps": 2, "way": 1},
        ):
            ask.post("/traverse", json_of(document))
        for name, value in (("dims", [0]), ("steps", 2), ("spacing", "linear"), ("span", 2)):
            told = value[0] if isinstance(value, list) else value
            ask.post(f"/traverse?{name}={told}", {name: value})
