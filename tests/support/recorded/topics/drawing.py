"""/sample: every parameter in the query and in the body, every form, both priors."""

from __future__ import annotations

from recorded.notebook import Notebook
from recorded.payloads import Payload, raw_json
from recorded.transcript import Varying


def sample(notebook: Notebook) -> None:
    """Each answer by its seed."""
    with notebook.application("images from a prior") as ask:
        ask.get("/sample.json?seed=7")
        for suffix in ("", ".npy", ".npz", ".png", ".txt"):
            ask.get(f"/sample{suffix}?seed=7")
            ask.get(f"/sample{suffix}?seed=7&n=3")
            ask.post(f"/sample{suffix}", {"seed": 7, "n": 2, "temperature": 0.5})
            ask.get(f"/sample{suffix}?seed=7&model=mnist@2")
        for query in (
            "seed=0",
            "seed=9007199254740991",
            "seed=7&temperature=0",
            "seed=7&temperature=0.8",
            "seed=7&temperature=1e0",
            "seed=7&temperature=10",
            "seed=7&prior=standard",
            "seed=7&n=2&&",
            "&seed=7",
            "%73eed=7",
        ):
            ask.get(f"/sample?{query}")
        for query in (
            "prior=standard",
            "prior=fitted",
            "n=20",
            "prior=fitted&temperature=0&n=4",
            "label=0",
            "label=7&n=2&temperature=0.25",
            "label=s%C3%BC%C3%9F+%26+klein&n=3",
            "label=s%C3%BC%C3%9F%20%26%20klein&prior=fitted",
        ):
            ask.get(f"/sample?model=mnist@candidate&seed=3&{query}")
        ask.get("/sample.npz?model=mnist@candidate&seed=3&label=7")
        ask.get("/sample.txt?model=mnist@candidate&seed=3&label=7&n=2")
        ask.post("/sample?model=mnist@candidate", {"seed": 3, "label": "süß & klein", "prior": "fitted"})
        ask.get("/sample.png?seed=7&n=5&scale=2&columns=5")
        ask.get("/sample.png?seed=7&n=5&scale=2")
        ask.get("/sample.txt?seed=7&n=7&columns=3")
        ask.get("/sample.txt?seed=7&n=1&columns=256")
        ask.get("/sample.npy?seed=7&n=64")
        ask.get("/sample.npy?seed=7&n=300")
        ask.get("/sample.npy?seed=7&n=300&model=mnist@candidate&label=7&temperature=0.5")
        ask.get("/sample?seed=7&model=colour&n=2")
        ask.get("/sample.png?seed=7&model=colour&n=2")
        ask.get("/sample.txt?seed=7&model=colour&n=2")
        ask.get("/sample.npy?seed=7&model=deep&n=2")
        ask.get("/sample.png?seed=7&model=deep&n=2")
        ask.get("/sample.txt?seed=7&model=deep&n=2")
        ask.post("/sample?seed=7", Payload(b"", None))
        ask.post("/sample?seed=7", raw_json(b" \r\n\t"))
        ask.post("/sample?seed=7", raw_json(b"{}"))
        ask.post("/sample?seed=7", Payload(b'{"n":2}', "application/x-www-form-urlencoded"))
        ask.post("/sample?n=2", {"seed": 7, "temperature": 1})
        ask.post("/sample.png?scale=2&columns=4", {"seed": 7, "n": 4})
        ask.post("/sample?model=mnist@2&temperature=0.5&prior=fitted&label=7", {"seed": 7})
        for target in ("/sample", "/sample.npy?n=3", "/sample.txt?temperature=0.5"):
            ask.ask("GET", target, varying=Varying(seed=True))
        ask.ask("HEAD", "/sample")
    with notebook.application("HEAD says what GET would say") as ask:
        for target in (
            "/sample?seed=7",
            "/sample.npy?n=3&seed=7",
            "/sample.npy?n=20000&seed=7",
            "/sample.npz?n=3&seed=7&temperature=0.5",
            "/sample.png?n=9&seed=7&scale=2",
            "/sample.txt?seed=7",
            "/sample.npy?n=2&seed=7&model=mnist@2&label=7",
            "/sample?seed=7&prior=standard&model=colour",
            "/sample?n=0",
            "/sample?n=300",
            "/sample.png?n=200&seed=1&scale=64",
            "/sample?label=9&model=mnist@2",
            "/sample?model=plain",
        ):
            ask.ask("HEAD", target)
        ask.ask("HEAD", "/sample?seed=7", [("accept", "application/x-npy")])
    with notebook.application("what cannot be drawn") as ask:
        for query in (
            "prior=fitted",
            "label=7",
            "label=7&prior=standard",
            "model=plain",
            "model=plain&prior=standard",
            "model=plain&prior=fitted",
            "model=mnist@2&label=9",
            "model=mnist@2&label=7&prior=standard",
            "model=mnist@2&label=",
            "n=257",
            "n=65537",
            "model=deep&n=2&format=png",
            "model=broken",
        ):
            ask.get(f"/sample?{query}")
        ask.get("/sample.png?n=256&scale=64&seed=1")
        ask.get("/sample.npy?n=65537")
        ask.post("/sample?n=2", {"n": 2})
        ask.post("/sample?seed=2&n=1", {"seed": 2, "n": 1})
        ask.post("/sample?temperature=1", {"temperature": 1})
        ask.post("/sample?prior=standard", {"prior": "standard"})
        ask.post("/sample?label=7", {"label": "7"})
