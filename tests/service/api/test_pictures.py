"""A canvas of a page and a photograph of a phone, and what the answer says about them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import content_of, resolve
from pictures_made import canvas, mu, photograph, post_form, saved
from PIL import Image

from model_store import pictures
from service.api import request_images
from service.app import create_app
from service.settings import Settings

# The canvas of a page


def test_canvas_is_read_as_it_is_and_the_answer_says_what_was_done(api: Caller) -> None:
    answer = api.post("/encode?resize=true", saved(canvas()), "image/png")
    assert answer.status == 200
    assert answer.headers["x-picture"] == "280x280; fit=contain; resampling=antialias; inverted=no"
    assert "x-warning" not in answer.headers


@pytest.mark.parametrize("fit", ["contain", "cover", "stretch", "mnist"])
def test_fit_needs_no_other_word(api: Caller, fit: str) -> None:
    answer = api.post(f"/encode?fit={fit}", saved(canvas(size=(320, 280))), "image/png")
    assert answer.headers["x-picture"] == f"320x280; fit={fit}; resampling=antialias; inverted=no"


def test_picture_of_the_right_size_is_left_as_it_is(api: Caller) -> None:
    exact = saved(canvas().resize((28, 28)))
    answers = [
        api.post(f"/encode{query}", exact, "image/png") for query in ("", "?resize=true", "?fit=cover")
    ]
    assert {each.headers["x-picture"] for each in answers} == {
        "28x28; fit=none; resampling=none; inverted=no"
    }
    assert len({each.body for each in answers}) == 1


@pytest.mark.parametrize(
    "other",
    [
        canvas(pen=0, ground=255),
        canvas("RGB", pen=(0, 0, 0), ground=(255, 255, 255)),
        canvas("RGBA", pen=(0, 0, 0, 255), ground=(0, 0, 0, 0)),
        canvas("RGBA", pen=(0, 0, 0, 255), ground=(255, 255, 255, 0)),
    ],
    ids=["black on white", "colour", "on a transparent canvas", "on a transparent white one"],
)
def test_drawing_that_looks_inverted_is_warned_of_and_turned_on_request(
    api: Caller, other: Image.Image
) -> None:
    """The most usual mistake: the model answers something, and nothing says why it is wrong."""
    right = mu(api.post("/encode?fit=mnist", saved(canvas()), "image/png"))
    wrong = api.post("/encode?resize=true", saved(other), "image/png")
    assert "images[0]: looks dark on a light ground" in wrong.headers["x-warning"]
    assert "invert=auto" in wrong.headers["x-warning"]
    for choice in ("auto", "yes", "true"):
        answer = api.post(f"/encode?fit=mnist&invert={choice}", saved(other), "image/png")
        assert answer.headers["x-picture"] == "280x280; fit=mnist; resampling=antialias; inverted=yes"
        assert "x-warning" not in answer.headers
        np.testing.assert_allclose(mu(answer), right, atol=1e-5)
    for choice in ("no", "false"):
        assert (
            "x-warning"
            not in api.post(f"/encode?resize=true&invert={choice}", saved(other), "image/png").headers
        )


def test_automatic_choice_leaves_a_drawing_that_is_right(api: Caller) -> None:
    answer = api.post("/encode?fit=mnist&invert=auto", saved(canvas()), "image/png")
    assert answer.headers["x-picture"].endswith("inverted=no")


def test_model_of_colours_is_not_warned_of(api: Caller) -> None:
    answer = api.post("/encode?model=colour&resize=true", saved(canvas(pen=0, ground=255)), "image/png")
    assert answer.status == 200
    assert "x-warning" not in answer.headers


def test_empty_canvas_has_nothing_to_centre(api: Caller) -> None:
    refused = api.post("/encode?fit=mnist", saved(Image.new("L", (280, 280))), "image/png")
    assert (refused.status, refused.code) == (422, "invalid-value")
    assert "a figure lighter than its ground, for fit=mnist, got none" in refused.json()["detail"]
    other = api.post("/encode?fit=mnist", saved(canvas(pen=0, ground=255)), "image/png")
    assert "Send invert=auto if the picture is dark on light. Is it empty?" in other.json()["detail"]
    turned = api.post("/encode?fit=mnist&invert=auto", saved(Image.new("L", (280, 280), 255)), "image/png")
    assert turned.json()["errors"][0]["remedy"] == "Is it empty? Draw a figure, or choose another fit."


def test_unknown_choices_are_refused_with_the_known_ones(api: Caller) -> None:
    refused = api.post("/encode?fit=fill&invert=maybe", saved(canvas()), "image/png").json()["errors"]
    assert refused[0]["expected"] == "contain or cover or stretch or mnist"
    assert refused[1]["expected"] == "no or yes or auto or false or true"


# Photographs


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
@pytest.mark.parametrize("stated", [True, False])
def test_photograph_is_turned_upright(api: Caller, kind: str, media_type: str, stated: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = canvas(size=(240, 320))
    lies = upright.transpose(Image.Transpose.ROTATE_90)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    answer = api.post(
        "/encode?resize=true", saved(lies, kind, exif=exif, **options), media_type if stated else None
    )
    assert answer.headers["x-picture"] == (
        "240x320; fit=contain; resampling=antialias; inverted=no; orientation=6"
    )
    same = api.post("/encode?resize=true", saved(upright), "image/png")
    np.testing.assert_allclose(mu(answer), mu(same), atol=0.05)


def test_photograph_of_twelve_megapixels_is_decoded_at_half_its_size(api: Caller) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = canvas("RGB", pen=(30, 30, 60), ground=(200, 190, 180)).resize((3024, 4032))
    lies = upright.transpose(Image.Transpose.ROTATE_90)
    answer = api.post("/encode?fit=mnist&invert=auto", saved(lies, "JPEG", exif=exif), "image/jpeg")
    assert answer.headers["x-picture"] == (
        "3024x4032; decoded=1512x2016; fit=mnist; resampling=antialias; inverted=yes; orientation=6"
    )
    small = saved(upright.resize((756, 1008), Image.Resampling.BOX))
    np.testing.assert_allclose(
        mu(answer), mu(api.post("/encode?fit=mnist&invert=auto", small, "image/png")), atol=0.1
    )
    unfitted = api.post("/encode", saved(lies, "JPEG", exif=exif), "image/jpeg")
    assert "expected a JPEG of 28 × 28 pixels, got 3024 × 4032" in unfitted.json()["detail"]


def test_picture_of_too_many_pixels_is_refused_with_the_setting_that_allows_them(
    tiny_store: Path, api: Caller
) -> None:
    file = photograph(4000, 6000, quality=30)
    refused = api.post("/encode?fit=contain", file, "image/jpeg")
    assert (refused.status, refused.code) == (422, "invalid-value")
    (item,) = refused.json()["errors"]
    assert item["got"] == "4000 × 6000"
    assert "3344 × 5016 or less" in item["remedy"]
    assert "VAE_MAX_PICTURE_PIXELS" in item["remedy"]
    settings = Settings(model_store=tiny_store, threads=1, max_picture_pixels=12_000_000)
    with Caller(create_app(settings)) as generous:
        answer = generous.post("/encode?fit=contain", file, "image/jpeg")
        assert answer.headers["x-picture"].startswith("4000x6000; decoded=2000x3000; fit=contain")
        whole = generous.post("/encode?fit=contain", photograph(3000, 4000, quality=30), "image/jpeg")
        assert whole.headers["x-picture"].startswith("3000x4000; fit=contain")
        (row,) = [r for r in generous.get("/limits").json()["limits"] if r["name"] == "max_picture_pixels"]
        assert (row["value"], row["setting"]["variable"]) == (12_000_000, "VAE_MAX_PICTURE_PIXELS")


def test_picture_with_another_type_than_its_own_is_read_by_its_first_bytes(api: Caller) -> None:
    for file in (saved(canvas()), photograph(40, 40), photograph(40, 40, "WEBP")):
        answers = {
            api.post("/encode?resize=true", file, f"image/{kind}").body for kind in ("png", "jpeg", "webp")
        }
        assert len(answers) == 1


def test_photograph_of_an_iphone_is_refused_by_name(api: Caller) -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(200)
    for answer in (
        api.post("/encode?fit=contain", heic, "image/jpeg"),
        post_form(api, "/encode?fit=contain", ("file@IMG_1.HEIC", heic)),
    ):
        assert (answer.status, answer.code) == (400, "malformed-body")
        assert "a HEIC file" in answer.json()["detail"]
        assert "Most Compatible" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(99), None, "got a HEIC file. Convert it to JPEG or PNG; an iPhone"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "application/x-www-form-urlencoded", "got a HEIC file."),
        (b"anything", "image/heic", "got a HEIC file. Convert it to JPEG or PNG; an iPhone"),
        (b"anything", "image/avif", "got an AVIF file. Convert it"),
        (b"GIF89a" + bytes(99), None, "got a GIF file. Convert it to JPEG or PNG, one frame of it."),
        (b"II*\0" + bytes(99), "application/octet-stream", "got a TIFF file. Convert it"),
        (b"%PDF-1.7", None, "got a PDF file. Convert it to JPEG or PNG, one page of it."),
        (b"<svg></svg>", "image/svg+xml", "got an SVG file. Convert it"),
    ],
)
def test_picture_of_another_format_is_named_with_the_way_to_convert_it(
    api: Caller, body: bytes, media_type: str | None, words: str
) -> None:
    refused = api.post("/encode?fit=contain", body, media_type)
    assert (refused.status, refused.code) == (415, "media-type-not-supported")
    assert words in refused.json()["detail"]
    assert "curl -H 'Content-Type: image/jpeg' --data-binary @" in refused.json()["detail"]
    other = api.post("/decode", body, media_type)
    assert other.status == 415
    assert "Convert" not in other.json()["detail"]


def test_large_pictures_are_decoded_one_after_another(tiny_store: Path) -> None:
    """Together they have at most as many pixels as one may have; small ones pass by."""
    settings = Settings(model_store=tiny_store, threads=4)
    seen: list[int] = []
    busy: list[int] = []
    original = pictures.prepared_image

    def watched(*arguments: Any, **options: Any) -> Any:
        busy.append(1)
        seen.append(len(busy))
        try:
            return original(*arguments, **options)
        finally:
            busy.pop()

    large = saved(Image.new("L", (2048, 2048)))
    with Caller(create_app(settings)) as api, pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_images, "prepared_image", watched)

        async def together() -> list[Any]:
            return await asyncio.gather(
                *(api.acall("POST", "/encode?resize=true", body=large) for _ in range(6))
            )

        answers = api.run(together())
        assert [answer.status for answer in answers] == [200] * 6
        room = api.app.state.app_state.picture_room
        assert (room.held, room.most) == (0, 4_194_304)
    assert max(seen) == 1


def test_late_picture_is_not_decoded(tiny_store: Path) -> None:
    settings = Settings(model_store=tiny_store, threads=1, request_timeout_s=1e-9)
    with Caller(create_app(settings)) as api:
        late = api.post("/encode?resize=true", saved(Image.new("L", (600, 600))), "image/png")
        assert (late.status, late.code) == (504, "deadline-exceeded")


def test_document_states_the_bound_and_every_body(api: Caller) -> None:
    document = api.get("/openapi.json").json()
    content = content_of(document, document["paths"]["/encode"]["post"]["requestBody"])
    assert list(content) == [
        *("application/json", "image/png", "image/jpeg", "image/webp"),
        *("multipart/form-data", "application/zip", "application/x-npy", "application/x-npz"),
        "application/octet-stream",
    ]
    for kind in ("image/png", "image/jpeg", "image/webp"):
        assert "4,194,304 pixels" in content[kind]["schema"]["description"]
    assert content["multipart/form-data"]["schema"] == {"$ref": "#/components/schemas/EncodeForm"}
    schema = document["components"]["schemas"]["EncodeForm"]
    assert schema["required"] == ["images"]
    assert schema["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    for path, kind in (("jpg", "image/jpeg"), ("webp", "image/webp"), ("png", "image/png")):
        answered = resolve(document, document["paths"][f"/reconstruct.{path}"]["post"]["responses"]["200"])
        assert {"X-Picture", "X-Warning"} <= set(answered["headers"])
        assert list(answered["content"]) == [kind]
    bodies = content_of(document, document["paths"]["/nearest"]["post"]["requestBody"])
    assert document["components"]["schemas"]["NearestForm"]["required"] == ["latents"]
    assert "npy" in bodies["multipart/form-data"]["encoding"]["latents"]["contentType"]
