"""Several pictures in one request, and what curl makes of files by itself."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from http_calls import Caller
from pictures_made import canvas, form, mu, npy, photograph, post_form, saved, zipped
from PIL import Image

from service.app import create_app
from service.settings import Settings

# Several at once

THREE = (saved(canvas()), photograph(300, 200), photograph(64, 64, "WEBP"))


@pytest.fixture(scope="module")
def alone(api: Caller) -> np.ndarray:
    return np.concatenate([mu(api.post("/encode?resize=true", file, None)) for file in THREE])


def test_several_files_of_a_form_are_the_images_in_their_order(api: Caller, alone: np.ndarray) -> None:
    for names in (("images", "images", "images"), ("file", "image", "files[]")):
        parts = [(f"{name}@{i}.bin", file) for i, (name, file) in enumerate(zip(names, THREE, strict=True))]
        answer = post_form(api, "/encode?resize=true", *parts)
        np.testing.assert_allclose(mu(answer), alone, atol=1e-5)
        assert answer.headers["x-picture"].split(", ")[1].startswith("300x200; fit=contain")


def test_archive_of_pictures_is_the_images_in_its_order(api: Caller, alone: np.ndarray) -> None:
    files = [(f"pictures/{9 - i}.any", file) for i, file in enumerate(THREE)]
    for media_type in ("application/zip", "application/x-zip-compressed", None):
        answer = api.post("/encode?resize=true", zipped(*files, ("__MACOSX/._1", b"x")), media_type)
        np.testing.assert_allclose(mu(answer), alone, atol=1e-5)


def test_arrays_come_as_npz_and_in_a_form(api: Caller) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    expected = mu(api.post("/encode", npy(images), "application/x-npy"))
    packed = zipped(("images.npy", npy(images)))
    for answer in (
        api.post("/encode", packed, "application/x-npz"),
        api.post("/encode", packed, None),
        post_form(api, "/encode", ("images@images.npy", npy(images))),
        post_form(api, "/encode", ("file@digits.npy", npy(images))),
    ):
        np.testing.assert_array_equal(mu(answer), expected)


def test_fields_of_a_form_are_parameters_as_strict_as_those_of_a_query(api: Caller) -> None:
    file = ("images@a.png", THREE[0])
    answer = post_form(api, "/reconstruct?resize=true", file, ("sample", b"true"), ("seed", b"7"))
    assert (answer.status, answer.headers["x-seed"]) == (200, "7")
    same = api.post("/reconstruct?resize=true&sample=true&seed=7", THREE[0], "image/png")
    assert answer.body == same.body
    for fields, where in (
        ([("seed", b"1.5")], "body: seed"),
        ([("sed", b"1")], "body: field 1"),
        ([("seed", b"1"), ("seed", b"2")], "body: seed"),
    ):
        refused = post_form(api, "/reconstruct?resize=true", file, *fields)
        assert (refused.status, refused.code) == (422, "invalid-value")
        assert refused.json()["errors"][0]["where"] == where
    twice = post_form(api, "/reconstruct?resize=true&seed=1", file, ("seed", b"1"))
    assert twice.json()["errors"][0]["where"] == "query: seed"


def test_paths_between_two_pictures_and_neighbours_of_one(api: Caller) -> None:
    ends = [("images@a.png", THREE[0]), ("images@b.jpg", THREE[1])]
    answer = post_form(api, "/interpolate?resize=true&steps=3", *ends)
    assert np.array(answer.json()["images"]).shape == (3, 1, 28, 28)
    assert (
        api.post("/interpolate?fit=cover", zipped(("a.png", THREE[0]), ("b.png", THREE[1])), None).status
        == 200
    )
    assert post_form(api, "/interpolate?resize=true", ends[0]).status == 422
    latents = mu(post_form(api, "/encode?resize=true", *ends)).astype(np.float32)
    for found in (
        post_form(
            api, "/nearest?resize=true", *ends[::-1], ("latents@latents.npy", npy(latents)), ("k", b"1")
        ),
        api.post(
            "/nearest?resize=true&k=1",
            zipped(("1.jpg", THREE[1]), ("2.png", THREE[0]), ("latents.npy", npy(latents))),
            "application/zip",
        ),
    ):
        assert found.json()["indices"] == [[1], [0]], found.body


@pytest.mark.parametrize("path", ["/score", "/reconstruct", "/traverse", "/encode"])
def test_every_operation_on_images_takes_every_kind_of_picture(api: Caller, path: str) -> None:
    for file in THREE:
        assert api.post(f"{path}?fit=contain", file, None).status == 200
        assert post_form(api, f"{path}?fit=contain", ("file@x", file)).status == 200
        assert api.post(f"{path}?fit=contain", zipped(("x.png", file)), None).status == 200


def test_broken_picture_among_others_is_named_by_its_index(api: Caller) -> None:
    cut = THREE[1][:-200]
    for answer in (
        post_form(api, "/encode?resize=true", ("a@a", THREE[0]), ("b@b", cut)),
        api.post("/encode?resize=true", zipped(("a", THREE[0]), ("b.jpg", cut)), None),
    ):
        assert (answer.status, answer.code) == (400, "malformed-body")
        assert answer.json()["errors"][0]["where"] == "images[1]"
    refused = post_form(api, "/encode", ("a@a", THREE[0]))
    assert refused.json()["errors"][0]["where"] == "images[0]"
    assert "fit=contain" in refused.json()["errors"][0]["remedy"]


def test_picture_that_is_refused_among_others_is_named_by_its_file(api: Caller) -> None:
    """`images[137]` of an archive is the start of a search."""
    odd, name = b"\0\0\0\x18ftypheic" + bytes(99), "Weihnachten `24`.HEIC"
    for answer in (
        post_form(api, "/encode?fit=contain", ("a@a.png", THREE[0]), (f"b@{name}", odd)),
        api.post("/encode?fit=contain", zipped(("a.png", THREE[0]), (f"2024/{name}", odd)), None),
    ):
        (item,) = answer.json()["errors"]
        assert item["where"] == "images[1]"
        assert item["got"] == "a HEIC file in the file `Weihnachten \\x6024\\x60.HEIC`"
    large = post_form(api, "/encode", ("a@" + "a" * 999 + ".png", THREE[0])).json()["errors"][0]["got"]
    assert large == f"280 × 280 in the file `{'a' * 40}…`"


def test_field_with_the_name_of_a_file_gets_the_sign_that_is_missing(api: Caller) -> None:
    """`curl -F images=canvas.png` sends eleven letters."""
    for name in ("images", "image", "file"):
        refused = post_form(api, "/encode?fit=contain", (name, b"my canvas.PNG"))
        assert (refused.status, refused.code) == (422, "invalid-value")
        (item,) = refused.json()["errors"]
        assert (item["where"], item["expected"]) == ("body: field 1", "a file")
        assert item["got"] == "the text `my canvas.PNG`"
        assert f"-F {name}=@digit.png" in item["remedy"]
    empty = post_form(api, "/encode", ("images", b"")).json()["errors"][0]
    assert empty["got"] == "an empty text"
    odd = post_form(api, "/encode", ("a\nb", b"x.png")).json()["errors"][0]
    assert "-F images=@digit.png" in odd["remedy"]


def test_parameters_of_the_query_are_sent_there_from_a_form_and_from_json(api: Caller) -> None:
    picture = ("images@a.png", THREE[0])
    for answer, where in (
        (post_form(api, "/encode", picture, ("fit", b"mnist")), "body: field 1"),
        (api.post("/encode", b'{"images": [], "fit": "mnist"}', "application/json"), "body: key 2"),
    ):
        (item,) = answer.json()["errors"]
        assert (item["where"], item["got"]) == (where, "`fit`")
        assert item["remedy"] == "Send it in the query of the address: ?fit=…"
    sheet = api.post("/sample.png", b'{"n": 2, "scale": 4}', "application/json").json()["errors"][0]
    assert sheet["remedy"] == "Send it in the query of the address: ?scale=…"


def test_what_a_form_may_not_contain_is_refused_with_a_way_out(api: Caller) -> None:
    for parts, words in (
        ([], "got nothing"),
        ([("images@", b"")], "got nothing"),
        ([("a@a.zip", zipped(("1.png", THREE[0])))], "got a zip archive"),
        ([("a@a.npy", npy(np.zeros((1, 28, 28)))), ("b@b.png", THREE[0])], "got pictures and an array"),
        ([("a@a.npy", npy(np.zeros((1, 28, 28))))] * 2, "got several"),
        ([("a", b"\xff\xfe\xfd")], "got 3 bytes of something else"),
    ):
        refused = post_form(api, "/encode?resize=true", *parts)
        assert (refused.status, refused.code) == (422, "invalid-value"), refused.body
        assert words in refused.json()["detail"], refused.json()["detail"]


def test_bounds_hold_for_all_pictures_together(tiny_store: Path) -> None:
    settings = Settings(
        model_store=tiny_store, threads=1, max_images=9, max_picture_pixels=2_000, max_body_bytes=9_999
    )
    small, large = saved(Image.new("L", (10, 10))), saved(Image.new("L", (44, 44)))
    with Caller(create_app(settings)) as api:
        assert post_form(api, "/encode?resize=true", *[("a@a", small)] * 9).status == 200
        many = post_form(api, "/encode?resize=true", *[("a@a", small)] * 10)
        assert "expected 1 to 9 entries, got 10" in many.json()["detail"]
        assert post_form(api, "/encode?resize=true", *[("a@a", large)] * 8).status == 200
        much = post_form(api, "/encode?resize=true", *[("a@a", large)] * 9)
        assert "at most 16000 pixels in all pictures together, got 17424" in much.json()["detail"]
        bomb = zipped(("a.png", small))
        with zipfile.ZipFile(buffer := io.BytesIO(bomb), "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("b.png", bytes(1_000_000))
        assert "at most 9999 bytes together" in api.post("/encode", buffer.getvalue(), None).json()["detail"]


def test_type_without_a_boundary_names_the_usual_mistake(api: Caller) -> None:
    refused = api.post("/encode", form(("a@a", THREE[0])), "multipart/form-data")
    assert (refused.status, refused.code) == (400, "malformed-body")
    assert "Do not set this header yourself" in refused.json()["detail"]


# What curl sends by itself


def test_file_that_curl_has_mangled_is_told_from_a_whole_one(api: Caller) -> None:
    """`curl -d @digit.png` removes line breaks and zeros, and no error of a decoder would say so."""
    sent_by_itself = "application/x-www-form-urlencoded"
    for file in THREE:
        mangled = file.translate(None, b"\r\n\0")
        refused = api.post("/encode?resize=true", mangled, sent_by_itself)
        assert (refused.status, refused.code) == (415, "media-type-not-supported")
        assert "curl -d removes" in refused.json()["detail"]
        assert refused.json()["detail"].endswith(" http://localhost:8000/encode")
        assert " --data-binary @" in refused.json()["detail"]
        assert api.post("/encode?resize=true", file, sent_by_itself).status == 200


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        ("/sample", b"n=4&seed=7", '-d \'{"n": 4, "seed": 7}\' http://localhost:8000/sample'),
        ("/encode", b"images=[]", "-d @images.json http://localhost:8000/encode"),
        ("/encode", b"image=@digit.png", "curl -F images=@one.png -F images=@two.jpg"),
        ("/encode", b"image=%40digit.png", "curl -F images=@one.png -F images=@two.jpg"),
    ],
)
def test_fields_of_a_form_in_a_body_get_the_line_that_works(
    api: Caller, path: str, body: bytes, command: str
) -> None:
    refused = api.post(path, body, "application/x-www-form-urlencoded")
    assert (refused.status, refused.code) == (415, "media-type-not-supported")
    assert "fields of a form" in refused.json()["detail"]
    assert command in refused.json()["detail"]


def test_command_for_a_form_leaves_its_type_to_curl(api: Caller) -> None:
    commands = [item["remedy"] for item in api.post("/encode", b"x", "text/csv").json()["errors"]]
    (command,) = [each for each in commands if " -F " in each]
    assert command == "curl -F images=@one.png -F images=@two.jpg http://localhost:8000/encode"
