"""What is refused, and what is said about it: JSON, files and parameters."""

from __future__ import annotations

import numpy as np

from recorded.models import steps
from recorded.notebook import Notebook
from recorded.payloads import Payload, chunk, documents, json_of, npy, npy_file, png, ramp, raw_json

_GREY = (1, 4, 6)
_ROW = [0.0] * 6
_IMAGE = [[_ROW] * 4]

_NO_JSON = (
    b"null",
    b"[]",
    b"1",
    b'"images"',
    b"{",
    b"{}",
    b'{"images":}',
    b'{"images":[NaN]}',
    b'{"images":[Infinity]}',
    b'{"z":[[1e400,0,0]]}',
    b'{"z":[[01,0,0]]}',
    b'{"z":[[1,0,0],]}',
    b"{'z':[[1,0,0]]}",
    b'{"z":[[1,0,0]]} x',
    b'{"z":[[1,0,0]]}{"z":[[1,0,0]]}',
    b'{"z":[[1,0,0]],"z":[[1,0,0]]}',
    b'{"z":[[1,0,0]],"q":{"a":1,"a":2}}',
    b'\xef\xbb\xbf{"z":[[1,0,0]]}',
    b"\xff\xfe{\x00}\x00",
    b'{"z":"\xff"}',
    b'{"\\ud800":1}',
    b'{"z":[[1,0,0]],"\xc3\xa9":1}',
    b"[" * 1_030 + b"]" * 1_030,
    b'{"z":' + b"[" * 1_030 + b"]" * 1_030 + b"}",
    b'{"z":[' + b"[]," * 4_000 + b"[]]}",
    b'{"z":[' + b"{}," * 6_000 + b"{}]}",
    b'{"z":[' + b'"",' * 12_000 + b'""]}',
    b"\x89PNG",
    b"\x93NUMPY",
)

_WRONG_Z: tuple[object, ...] = (
    None,
    1,
    "1,2,3",
    True,
    {},
    [],
    [[]],
    [1, 2, 3],
    [[1, 2]],
    [[1, 2, 3, 4]],
    [[1, 2, 3], [1, 2]],
    [[1, 2, "3"]],
    [[1, None, 3]],
    [[True, 2, 3]],
    [[1, 2, [3]]],
    [[1, 2, {"a": 3}]],
    [[[1, 2, 3]]],
    [[[[[1]]]]],
    [1, [1, 2, 3]],
    [[1, 2, 3], "x", 4, None],
    [["a"] * 3] * 9,
    [[1e39, 0, 0]],
    [[1e308, 0, 0], [0, -1e308, 0]],
    [[10_001, 0, 0]],
    [[0, 0, 10_000.001]],
    [[10**30, 0, 0]],
    [[0, 0, 0]] * 257,
)

_WRONG_IMAGES: tuple[object, ...] = (
    None,
    [],
    _ROW,
    [_ROW] * 4,
    _IMAGE,
    [[_IMAGE]],
    [[[[0.0]] * 6] * 4],
    [[[_ROW] * 3]],
    [[[_ROW[:5]] * 4]],
    [[[_ROW] * 4] * 2],
    [[[_ROW, _ROW, _ROW, _ROW[:5]]]],
    [[[_ROW, _ROW, _ROW, [*_ROW[:5], "0"]]]],
    [[[_ROW, _ROW, _ROW, [*_ROW[:5], 1.5]]]],
    [[[_ROW, _ROW, _ROW, [*_ROW[:5], -0.25]]]],
    [[[_ROW, _ROW, _ROW, [*_ROW[:5], 1.0000001]]]],
    [[[_ROW, _ROW, _ROW, [*_ROW[:5], 255]]]] * 2,
    [_IMAGE] * 257,
)


def json_bodies(notebook: Notebook) -> None:
    """Bodies that are no JSON, and JSON that fits no model."""
    with notebook.application("no JSON") as ask:
        for data in _NO_JSON:
            ask.post("/decode", raw_json(data))
        for data in (b"null", b"{", b"[1]", b"x", b'{"n":1,"n":2}', b'{"n":' + b"1" * 5_000 + b"}"):
            ask.post("/sample", raw_json(data))
    with notebook.application("no latents") as ask:
        for z in _WRONG_Z:
            ask.post("/decode", {"z": z})
    with notebook.application("no images") as ask:
        for images in _WRONG_IMAGES:
            ask.post("/encode", {"images": images})
        ask.post("/encode?model=colour", {"images": [[[[0.0] * 3] * 4] * 2]})
        ask.post("/encode?model=colour", {"images": [[[0.0] * 4] * 2]})
    with notebook.application("wrong keys") as ask:
        for document in documents(
            {"image": [_IMAGE]},
            {"images": [_IMAGE], "sed": 1},
            {"images": [_IMAGE], "": 1, "a": 2, "x" * 100: 3},
            {f"k{number}": number for number in range(15)},
            {"images": [_IMAGE], "z": [[1, 2, 3]]},
            {"z": [[1, 2, 3]]},
            {"images": [_IMAGE], "sample": 1},
            {"images": [_IMAGE], "sample": "true", "seed": -1},
            {"images": [_IMAGE], "sample": None},
            {"images": [_IMAGE], "seed": 1.0},
            {"images": [_IMAGE], "seed": True},
            {"images": [_IMAGE], "seed": 9_007_199_254_740_992},
            {"images": [_IMAGE], "seed": 10**30},
            {"sample": True},
        ):
            ask.post("/reconstruct", document)
        for document in documents(
            {"n": 0},
            {"n": "4"},
            {"n": 2.5},
            {"n": 65_537},
            {"temperature": -0.5},
            {"temperature": 10.5},
            {"temperature": "1"},
            {"temperature": None},
            {"prior": "other"},
            {"prior": 1},
            {"label": 7},
            {"label": "x" * 65},
            {"n": -1, "seed": -1, "temperature": -1, "prior": "", "label": [], "model": "mnist", "z": []},
            {"images": []},
        ):
            ask.post("/sample", document)
        for document in documents(
            {"images": [_IMAGE], "importance_samples": 0},
            {"images": [_IMAGE], "importance_samples": 16_385},
            {"images": [_IMAGE, _IMAGE], "importance_samples": 9_000},
            {"images": [_IMAGE], "binarise": "sometimes"},
            {"images": [_IMAGE], "binarise": True},
        ):
            ask.post("/score", document)


def files(notebook: Notebook) -> None:
    """Files of npy and PNG that are broken, or fit no model."""
    image, z = steps(1, _GREY), np.zeros((1, 3), np.float32)
    sound = npy(image)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}"
    with notebook.application("npy") as ask:
        for array in (
            image.astype(np.int64),
            image.astype(bool),
            image.astype(np.complex64),
            image[0],
            image[0, 0],
            image.transpose(0, 2, 3, 1).copy(),
            image[:0],
            np.zeros((257, *_GREY), np.float32),
            np.zeros((), np.float32),
            np.full((2, *_GREY), np.nan, np.float32),
            np.full((1, *_GREY), np.inf, np.float32),
            np.full((1, *_GREY), -0.5, np.float64),
            np.full((1, *_GREY), 1.001, np.float16),
        ):
            ask.post("/encode", npy(array))
        for array in (
            z.astype(np.uint8),
            z[0],
            np.zeros((1, 4), np.float32),
            np.full((1, 3), np.nan, np.float32),
            np.full((1, 3), 1e39),
            np.full((1, 3), 10_001.0, np.float32),
            np.zeros((65_537, 3), np.float16),
        ):
            ask.post("/decode", npy(array))
        for data, shown in (
            (sound.data[:-1], "cut by a byte"),
            (sound.data + b"\0", "a byte too long"),
            (sound.data[:40], "cut within its header"),
            (sound.data[:9], "nine bytes"),
            (b"\x93NUMPY\x04" + sound.data[7:], "version 4"),
            (npy_file(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 3)}", b""), "objects"),
            (npy_file(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", b""), "records"),
            (npy_file(b"{'descr': '<f4', 'shape': (1, 3)}", b""), "a key is missing"),
            (npy_file(b"__import__('os')", b""), "code"),
            (npy_file(b" " * 5_000, b""), "a header of 5,000 spaces"),
            (npy_file(header.replace(b"(1, 3)", b"(99999999999, 3)"), b""), "a huge shape"),
            (npy_file(header.replace(b"(1, 3)", b"(1, , 3)"), b""), "a shape with a hole"),
            (npy_file(header.replace(b"(1, 3)", b"(9999999999, 3)"), b""), "more rows than bytes"),
        ):
            ask.post("/decode", Payload(data, "application/x-npy", f"(npy: {shown})"))
    whole = png(6, 4, ramp(24)).data
    with notebook.application("PNG") as ask:
        for picture in (
            png(5, 4, ramp(20)),
            png(4, 6, ramp(24)),
            png(6, 4, ramp(24), chunks=[(b"acTL", b"\0" * 8)], told="animated"),
            png(6, 4, ramp(24), colour=3, told="no palette"),
            png(6, 4, ramp(24), chunks=[(b"tRNS", b"\0")], told="short tRNS"),
        ):
            ask.post("/encode", picture)
        for data, shown in (
            (whole[:-5], "cut"),
            (whole[:20], "cut within its header"),
            (whole[:8], "the signature alone"),
            (b"GIF89a", "a GIF"),
            (whole[:29] + b"\0\0\0\0" + whole[33:], "a wrong checksum"),
            (whole[:8] + chunk(b"IEND", b""), "no header"),
            (whole[:8] + chunk(b"IHDR", b"\0\0\0\0\0\0\0\x04\x08\0\0\0\0"), "no width"),
            (whole[:8] + chunk(b"IHDR", b"\0\0\0\x06\0\0\0\x04\x07\0\0\0\0"), "seven bits"),
            (whole[:8] + chunk(b"IHDR", b"\0\0\0\x06\0\0\0\x04\x08\0\0\0\x02"), "interlace 2"),
            (whole[:33] + chunk(b"tEXt", b"") * 2_001, "2,001 chunks"),
            (whole[:33] + chunk(b"IDAT", b"nothing") + chunk(b"IEND", b""), "no pixels"),
        ):
            ask.post("/encode", Payload(data, "image/png", f"(PNG: {shown})"))
        large = whole[:8] + chunk(b"IHDR", b"\0\0\x02\0\0\0\x01\0\x08\0\0\0\0")
        ask.post("/encode?resize=true", Payload(large, "image/png", "(PNG: header of 512 × 256)"))


def parameters(notebook: Notebook) -> None:
    """Queries, and names of models."""
    with notebook.application("queries") as ask:
        for query in (
            "sed=7",
            "seed",
            "seed=",
            "seed=7&seed=8",
            "seed=-1",
            "seed=07",
            "seed=1.0",
            "seed=1e3",
            "seed=9007199254740992",
            "seed=" + "9" * 400,
            "n=0",
            "n=two",
            "temperature=nan",
            "temperature=inf",
            "temperature=-0.1",
            "temperature=10.1",
            "temperature=1e400",
            "scale=0",
            "scale=65",
            "columns=0",
            "columns=257",
            "prior=none",
            "label=" + "x" * 65,
            "=7",
            "a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11&l=12",
            "&".join(["seed=1"] * 70),
            "label=%ff",
            "label=%zz",
            "x" * 5_000 + "=1",
            "resize=true",
            "format=png",
        ):
            ask.get(f"/sample?{query}")
        image = json_of({"images": steps(1, _GREY)})
        for query in ("resize=1", "resize=True", "invert=", "scale=2", "sample=yes", "seed=1"):
            ask.post(f"/encode?{query}", image)
        for query in ("sample=yes", "sample=true&seed=x", "sample=true&sample=true"):
            ask.post(f"/reconstruct?{query}", image)
        ask.post("/reconstruct?seed=1", {"images": steps(1, _GREY), "seed": 1})
        ask.post("/reconstruct?sample=true", {"images": steps(1, _GREY), "sample": True})
        ask.post("/score?seed=1", {"images": steps(1, _GREY), "seed": 1})
        ask.post("/score?importance_samples=1", {"images": steps(1, _GREY), "importance_samples": 1})
        ask.post("/score?binarise=none", {"images": steps(1, _GREY), "binarise": "none"})
        for query in ("importance_samples=0", "importance_samples=20000", "binarise=maybe"):
            ask.post(f"/score?{query}", image)
        for query in ("steps=1", "steps=300", "method=arc"):
            ask.post(f"/interpolate?{query}", {"z": [[1, 0, 0], [0, 1, 0]]})
        for path in ("/models", "/models/mnist"):
            ask.get(f"{path}?verbose=1")
    with notebook.application("names of models") as ask:
        for name in (
            "nobody",
            "mnist@9",
            "mnist@unknown",
            "mnist@0",
            "mnist@01",
            "mnist@",
            "@1",
            "Mnist",
            "mnist%20",
            "mnist/1",
            "..%2fmnist",
            "%00",
            "%ff",
            "m" * 300,
            "broken",
            "broken@1",
            "",
        ):
            ask.get(f"/sample?seed=1&model={name}")
            ask.get(f"/models/{name}")
