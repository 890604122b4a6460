"""Forms as clients write them, and forms that nobody writes."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest
from patience import slowness

from service.codecs.errors import CodecError, InvalidValue, MalformedBody
from service.http.form_data import MAX_PART_HEAD_BYTES, Part, read_form

BOUNDARY = "------------------------d74496d66958873e"


def form(*parts: tuple[str, bytes], boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    """Each part with its Content-Disposition, as curl writes it."""
    out = b""
    for disposition, data in parts:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n"
        out += head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
    return out + b"--" + boundary.encode() + end


def test_parts_come_in_their_order_with_every_byte():
    data = bytes(range(256)) * 4 + b"\r\n--almost\r\n"
    body = form(
        ('name="images"; filename="a.png"', data),
        ('name="images"; filename="b \\"x\\".png"', b""),
        ('name="seed"', b"7"),
    )
    assert read_form(body, BOUNDARY, max_parts=3) == [
        Part("images", True, data, "a.png"),
        Part("images", True, b"", 'b "x".png'),
        Part("seed", False, b"7"),
    ]
    assert read_form(body, BOUNDARY, max_parts=3)[1].is_unfilled


@pytest.mark.parametrize(
    "odd",
    [
        form(('name="a"', b"1"), end=b"--"),
        form(('name="a"', b"1"), end=b"--\r\nan epilogue"),
        b"\r\n" + form(('name="a"', b"1")),
        form(("name=a", b"1")),
        form(('NAME="a"', b"1")),
        form(('name="a"', b"1")).replace(b"Content-Disposition", b"content-disposition"),
        form(('name="a"', b"1")).replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \t\r\n"),
    ],
)
def test_ways_of_writing_it_that_are_valid_are_read(odd):
    assert read_form(odd, BOUNDARY, max_parts=1) == [Part("a", False, b"1")]


def test_empty_form_has_no_parts():
    assert read_form(form(), BOUNDARY, max_parts=1) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "the delimiter of its Content-Type"),
        (b'{"images": []}', "the delimiter of its Content-Type"),
        (form(('name="a"', b"1"), boundary="other"), "the delimiter of its Content-Type"),
        (form(('name="a"', b"1"))[:-30], "a delimiter after it, got none: the body is cut short"),
        (form(('name="a"', b"1"))[:60], "a head of at most"),
        (form(('filename="a"', b"1")), "Content-Disposition: form-data with a name"),
        (form(('name="a"', b"1")).replace(b"\r\n", b"\n"), "a line break after its delimiter"),
        (form(('name="' + "a" * MAX_PART_HEAD_BYTES + '"', b"1")), "a head of at most"),
        (
            form(('name="a"', b"MQ==")).replace(
                b"Content-Type: application/octet-stream", b"Content-Transfer-Encoding: base64"
            ),
            "the bytes of a file, got a Content-Transfer-Encoding",
        ),
    ],
)
def test_broken_form_is_refused_with_the_way_to_write_one(body, expected):
    with pytest.raises(MalformedBody, match=expected) as refused:
        read_form(body, BOUNDARY, max_parts=9)
    assert "curl -F" in refused.value.remedy


@pytest.mark.parametrize("boundary", ["", "a" * 201, "ü"])
def test_header_without_a_boundary_names_the_usual_mistake(boundary):
    with pytest.raises(MalformedBody, match="Do not set this header yourself"):
        read_form(form(("name=a", b"1")), boundary, max_parts=9)


def test_more_parts_than_allowed_are_refused():
    with pytest.raises(InvalidValue, match="at most 4 parts"):
        read_form(form(*[("name=a", b"")] * 5), BOUNDARY, max_parts=4)


def test_hostile_forms_are_read_in_linear_time():
    """What parsers of streams were slow at: almost-delimiters, heads without end, epilogues, empty parts."""
    delimiter = b"--" + BOUNDARY.encode()
    megabytes = 8 * 1024 * 1024
    for body in (
        delimiter + b"\r\n" + b"a: b\r\n" * (megabytes // 6),
        delimiter + b"\r\n" + b"\r\n" * (megabytes // 2),
        form(("name=a", (b"\r\n" + delimiter[:-1]) * (megabytes // len(delimiter)))),
        form(("name=a", b"\r" * megabytes)),
        form(("name=a", b"1"), end=b"--" + b"\r\n-" * (megabytes // 3)),
        (delimiter + b"\r\n") * (megabytes // (len(delimiter) + 2)),
        delimiter * (megabytes // len(delimiter)),
        b"-" * megabytes,
    ):
        begun = time.process_time()
        with suppress(CodecError):
            read_form(body, BOUNDARY, max_parts=300)
        assert time.process_time() - begun < 0.5 * slowness()


def test_mangled_forms_are_read_or_refused_and_nothing_else():
    generator = random.Random(5)
    good = form(('name="images"; filename="a.png"', b"\x89PNG\r\n\x1a\n"), ('name="seed"', b"7"))
    for _ in range(3_000):
        data = bytearray(good)
        for _ in range(generator.randint(1, 5)):
            at = generator.randrange(len(data))
            match generator.randrange(3):
                case 0:
                    data[at] = generator.randrange(256)
                case 1:
                    del data[at : at + generator.randint(1, 30)]
                case _:
                    data[at:at] = data[at : at + generator.randint(1, 30)]
            if len(data) < 2:
                break
        with suppress(CodecError):
            read_form(bytes(data), BOUNDARY, max_parts=4)


def test_forms_of_a_python_client_are_read():
    """With names that need escapes, and file names that are no ASCII."""
    import httpx2

    files = [
        ("images", ('bild "1" ä.png', b"\x89PNG\r\n\x1a\n", "image/png")),
        ("images", ("2.jpg", b"\xff\xd8", "image/jpeg")),
    ]
    request = httpx2.Request("POST", "http://a/encode", files=files, data={"seed": "7", 'odd "name"': "x"})
    boundary = request.headers["content-type"].partition("boundary=")[2]
    parts = read_form(request.read(), boundary, max_parts=9)
    assert [(part.name, part.is_file) for part in parts][-2:] == [("images", True)] * 2
    assert [part.data for part in parts if part.is_file] == [b"\x89PNG\r\n\x1a\n", b"\xff\xd8"]
    assert {part.data for part in parts if not part.is_file} == {b"7", b"x"}


def test_another_parser_reads_the_same():
    """The one of a web framework that the tests have for other reasons."""
    werkzeug = pytest.importorskip("werkzeug.sansio.multipart")
    generator = random.Random(6)
    for _ in range(100):
        parts = [
            (f'name="field{i}"; filename="{i}.png"', generator.randbytes(generator.randrange(200)))
            for i in range(generator.randrange(1, 6))
        ]
        body = form(*parts)
        decoder = werkzeug.MultipartDecoder(BOUNDARY.encode())
        decoder.receive_data(body)
        decoder.receive_data(None)
        theirs: list[list[object]] = []
        while not isinstance(event := decoder.next_event(), werkzeug.Epilogue):
            if isinstance(event, werkzeug.File):
                theirs.append([event.name, b""])
            elif isinstance(event, werkzeug.Data):
                theirs[-1][1] += event.data
        ours = [[part.name, part.data] for part in read_form(body, BOUNDARY, max_parts=9)]
        assert ours == theirs
