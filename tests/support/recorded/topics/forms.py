"""Which form an answer takes, which types a body may have, and every kind of picture."""

from __future__ import annotations

import struct

from recorded.models import steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, archive, bits, form, jpeg, json_of, npy, npz, png, ramp, webp

_GREY = (1, 4, 6)

_ACCEPTS = (
    "*/*",
    "application/json",
    "image/png",
    "application/x-npy",
    "application/x-npz",
    "text/plain",
    "image/*",
    "text/*, application/json;q=0.5",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/html",
    "image/png;q=0, */*",
    "application/json;q=0.2, image/png;q=0.9",
    "application/json;version=2",
    "application/json;q=nonsense",
    "TEXT/PLAIN;CHARSET=UTF-8",
    '"text/plain", ;;,, image/png',
    "*",
    ",",
    "text/html, image/gif;q=0.3, image/jpeg",
    "image/webp, */*;q=0",
)


def negotiation(notebook: Notebook) -> None:
    """By suffix, by Accept, and by both."""
    with notebook.application("by Accept") as ask:
        for accept in _ACCEPTS:
            ask.get("/sample?seed=7", accept=accept)
        ask.ask("GET", "/sample?seed=7", [("accept", "text/html"), ("accept", "text/plain")])
        ask.get("/sample?seed=7", accept="text/html," * 70 + "text/plain")
        ask.get("/sample?seed=7", accept="x/" + "y" * 4_000)
        for accept in ("text/plain", "image/png", "application/x-npz", "application/x-npy", "application/*"):
            ask.post("/encode", {"images": steps(1, _GREY)}, accept=accept)
            ask.post("/score?model=binary&seed=1", {"images": steps(1, _GREY).round()}, accept=accept)
        for accept in ("text/plain", "application/*;q=0.1"):
            ask.get("/models", accept=accept)
            ask.get("/models/mnist", accept=accept)
    with notebook.application("by suffix, which wins over Accept") as ask:
        ask.get("/sample.txt?seed=7", accept="image/png")
        for target in (
            "/sample.gif",
            "/sample.",
            "/sample.JSON",
            "/sample.npy.txt",
            "/sample.json/",
            "/traverse.jpg",
        ):
            ask.get(target)
        for target in ("/encode.png", "/encode.npy", "/encode.txt", "/score.png", "/score.npy"):
            ask.post(target, {"images": steps(1, _GREY)})
        ask.get("/models.json")
        ask.get("/models/mnist.json")
    with notebook.application("by Accept-Encoding") as ask:
        for coding in ("gzip", "br, gzip;q=0.5", "gzip;q=0, *", "identity, gzip;q=0.5", "br", ""):
            ask.get("/sample?seed=7&n=9", accept_encoding=coding)
        for target in ("/sample.txt?seed=7&n=40", "/sample.png?seed=7&n=40", "/sample.npy?seed=7&n=40"):
            ask.get(target, accept_encoding="gzip")
        ask.ask("HEAD", "/sample?seed=7&n=9", [("accept-encoding", "gzip")])
        ask.get("/livez", accept_encoding="gzip")
        ask.get("/livez", accept_encoding="gzip, identity;q=0")
    with notebook.application("without compression", compression=False) as ask:
        ask.get("/sample?seed=7&n=9", accept_encoding="gzip")


def media_types(notebook: Notebook) -> None:
    """What a body says that it is, and what it is."""
    document = json_of({"images": steps(1, _GREY)})
    with notebook.application("types of bodies") as ask:
        for media_type in (
            None,
            "application/x-www-form-urlencoded",
            "application/octet-stream",
            "application/json; charset=utf-8",
            "APPLICATION/JSON;CHARSET=UTF8",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf-16",
            "text/json",
            "application/x-json",
            "text/plain",
            "application/xml",
            "application/vnd.example+json",
            "multipart/form-data; boundary=x",
            "image/jpeg",
            "image/webp",
            "image/gif",
            "nonsense",
            ";",
            "image/png",
            "application/x-npy",
        ):
            ask.post("/encode", Payload(document.data, media_type))
        for data in (npy(steps(1, _GREY)), png(6, 4, ramp(24))):
            for media_type in (None, "application/octet-stream", "application/json", "image/x-png"):
                ask.post("/encode", Payload(data.data, media_type, data.shown))
        ask.post("/encode", Payload('{"größe":1}'.encode("latin-1"), "application/json; charset=latin-1"))
        ask.post("/encode", Payload(b"neither of them", None))
        ask.post("/encode", Payload(b"", None))
        ask.post("/encode", Payload(b"", "application/json"))
        ask.post("/encode", Payload(b"", "image/png"))
        ask.post("/encode", Payload(b"", "application/x-npy"))
        for encoding in ("gzip", "identity", "", "br, gzip", "IDENTITY"):
            ask.post("/encode", document, content_encoding=encoding)
        for path in ("/sample", "/decode", "/reconstruct", "/interpolate", "/traverse", "/score"):
            ask.post(path, Payload(b"<x/>", "application/xml"))
        ask.post("/decode", png(6, 4, ramp(24)))
        ask.post("/sample", npy(steps(1, _GREY)))
        ask.ask(
            "POST",
            "/encode",
            [("content-type", "text/plain"), ("content-type", "application/json")],
            document,
        )
        ask.ask("POST", "/encode", [], document, host=None)
        ask.ask("POST", "/encode", [("content-type", "text/csv")], document, host='evil host"><script>')
        ask.ask("POST", "/encode", [("content-type", "text/csv")], document, host="vae.example:8080")
    with notebook.application("files whose first bytes determine their kind") as ask:
        one, two, z = (npy(array) for array in (steps(1, _GREY), steps(2, _GREY), steps(2, (3,))))
        stored = npz(images=steps(1, _GREY), latents=steps(4, (3,)))
        for target, file in (
            ("/decode", z),
            ("/reconstruct", one),
            ("/interpolate", two),
            ("/traverse?dims=0&steps=2", one),
            ("/score?model=binary&seed=1", npy(steps(1, _GREY).round())),
            ("/nearest", stored),
        ):
            ask.post(target, Payload(file.data, "application/octet-stream", file.shown))


def _pictures() -> list[Payload]:
    palette = b"\x00\x00\x00\xff\xff\xff\x80\x40\x20\x10\xf0\x90"
    indexes = bytes(at % 4 for at in range(24))
    exif = b"MM\0*" + struct.pack(">IHHHIH", 8, 1, 0x0112, 3, 1, 6) + b"\0" * 6
    return [
        png(6, 4, bits([1, 0, 1, 1, 0, 1]) * 4, depth=1),
        png(6, 4, b"\x1b\x10" * 4, depth=2),
        png(6, 4, b"\x0f\xa5\x3c" * 4, depth=4),
        png(6, 4, ramp(24)),
        png(6, 4, ramp(48, step=37), depth=16),
        png(6, 4, ramp(72), colour=2),
        png(6, 4, ramp(144, step=29), depth=16, colour=2),
        png(6, 4, indexes, colour=3, chunks=[(b"PLTE", palette)], told="PLTE"),
        png(6, 4, indexes, colour=3, chunks=[(b"PLTE", palette), (b"tRNS", b"\x00\x80")], told="PLTE, tRNS"),
        png(6, 4, ramp(48), colour=4),
        png(6, 4, ramp(96), colour=6),
        png(6, 4, ramp(192, step=7), depth=16, colour=6),
        png(6, 4, ramp(24), chunks=[(b"tRNS", b"\x00\x0b")], told="tRNS"),
        png(6, 4, ramp(72), colour=2, chunks=[(b"tRNS", b"\x00\x00\x00\x0b\x00\x16")], told="tRNS"),
        png(4, 6, ramp(24), chunks=[(b"eXIf", exif)], told="eXIf: on its side"),
        png(6, 4, ramp(24), chunks=[(b"tEXt", b"Comment\0nothing")], told="tEXt"),
    ]


def pictures(notebook: Notebook) -> None:
    """Every colour type and depth, upright or not, at the model's size and at others."""
    with notebook.application("a model that states no preprocessing") as ask:
        for picture in _pictures():
            ask.post("/encode", picture)
            ask.post("/encode?invert=true", picture)
        for query in ("resize=true", "resize=true&invert=true"):
            ask.post(f"/encode?{query}", png(12, 8, ramp(96)))
            ask.post(f"/encode?{query}", png(24, 8, ramp(192, step=3)))
            ask.post(f"/encode?{query}", png(3, 2, b"\x00\xff\x80\x40\xff\x00"))
            ask.post(f"/encode?{query}", png(12, 8, ramp(192), colour=4))
    with notebook.application("a model that states how", default_model="colour") as ask:
        ask.post("/encode", png(4, 2, ramp(8)))
        ask.post("/encode", png(4, 2, ramp(24), colour=2))
        ask.post("/encode", png(4, 2, ramp(32), colour=6))
        ask.post("/encode?invert=true", png(4, 2, ramp(32), colour=6))
        ask.post("/encode", png(4, 2, ramp(16), depth=16))
        ask.post("/encode?resize=true", png(8, 4, ramp(96), colour=2))
        ask.post("/encode?resize=true", png(8, 8, ramp(64)))
        ask.post("/encode?resize=true", png(16, 4, ramp(64)))
        ask.post("/reconstruct.png?resize=true&scale=2", png(8, 4, ramp(96), colour=2))
    with notebook.application("pictures as people have them") as ask:
        large, ink = png(12, 8, ramp(96)), png(6, 4, b"\0" * 8 + b"\xff\xff\0\0\xff\xff" + b"\0" * 10)
        light = png(6, 4, b"\xff" * 8 + b"\0\0\xff\xff\0\0" + b"\xff" * 10)
        for query in ("fit=contain", "fit=cover", "fit=stretch", "fit=mnist", "resize=true&fit=cover"):
            ask.post(f"/encode?{query}", png(16, 4, ramp(64)))
        for invert in ("no", "yes", "auto", "true", "false"):
            ask.post(f"/encode?invert={invert}", light)
        ask.post("/encode", light)
        ask.post("/encode?invert=auto", ink)
        ask.post("/encode?fit=mnist", png(6, 4, b"\x09" * 24))
        ask.post("/encode?fit=fill&invert=maybe", ink)
        for path in ("/encode", "/reconstruct", "/score", "/traverse"):
            query = "?fit=contain&seed=1" if path in ("/reconstruct", "/score") else "?fit=contain"
            for picture in (jpeg(), webp()):
                ask.post(f"{path}{query}", picture)
            ask.post(f"{path}{query}", form(("images", large)))
            ask.post(f"{path}{query}", archive(("large.png", large)))
            ask.post(f"{path}?{query[1:]}", npz(images=steps(1, _GREY)))
        ask.post("/encode?resize=true", form(("a", large), ("b", jpeg()), ("c", webp())))
        ask.post("/encode?resize=true", archive(("b/large.png", large), ("a.webp", webp()), (".hidden", ink)))
        ask.post("/reconstruct?resize=true", form(("file", jpeg()), ("sample", "true"), ("seed", "3")))
        two = (("images", jpeg()), ("images", large))
        ask.post("/interpolate?resize=true&invert=auto", form(*two, ("steps", "3")))
        ask.post("/interpolate?fit=contain&steps=3", archive(("1.jpg", jpeg()), ("2.png", large)))
        ask.post("/interpolate?steps=3", npz(images=steps(2, _GREY)))
        latents = npy(steps(3, (3,)))
        ask.post("/nearest?resize=true&k=2", form(("images", jpeg()), ("latents", latents)))
        ask.post("/nearest?fit=cover&invert=auto", archive(("1.jpg", jpeg()), ("latents.npy", latents)))
        ask.post("/encode", form(("images", ink), ("images", large)))
        ask.post(
            "/encode?resize=true", form(("images", ink), ("images", Payload(jpeg().data[:-9], None, "(cut)")))
        )
        ask.post("/encode", form())
        ask.post("/encode", form(("images", ink), ("sed", "7")))
        ask.post(
            "/encode", Payload(form(("images", ink)).data, "multipart/form-data", "(form without a boundary)")
        )
        ask.post("/encode", Payload(b"\0\0\0\x18ftypheic" + bytes(20), "image/jpeg", "(HEIC)"))
        curl = "application/x-www-form-urlencoded"
        ask.post("/encode", Payload(ink.data.translate(None, b"\r\n\0"), curl, "(PNG as curl -d sends it)"))
        ask.post("/sample", Payload(b"n=4&seed=7", curl))
    with notebook.application("pictures out") as ask:
        for suffix in ("jpg", "jpeg", "webp"):
            ask.get(f"/sample.{suffix}?seed=7")
            ask.get(f"/sample.{suffix}?seed=7&n=3&scale=2&columns=2&quality=50&model=colour")
            ask.ask("HEAD", f"/sample.{suffix}?seed=7", [])
        for accept in ("image/jpeg", "image/webp", "image/webp, image/png", "image/webp, image/png;q=0.8"):
            ask.get("/sample?seed=7", accept=accept)
        for path, body in (("/sample", {"seed": 7}), ("/traverse", {})):
            for suffix in ("jpg", "webp"):
                seed = "&seed=7" if body else ""
                ask.get(f"{path}.{suffix}?quality=80&model=colour{seed}")
                ask.post(f"{path}.{suffix}?quality=80", body)
        two_rows = {"z": [[0, 0, 0], [1, 0, 0]]}
        for suffix in ("jpg", "webp"):
            ask.post(f"/decode.{suffix}?quality=80", two_rows)
            ask.post(f"/interpolate.{suffix}?quality=80&steps=2", two_rows)
            ask.post(f"/reconstruct.{suffix}?quality=80", png(6, 4, ramp(24)))
        ask.get("/sample.jpg?quality=0")
