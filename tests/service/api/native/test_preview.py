"""/models/{name}/preview: the published points in each form, for whom, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Answer, Caller
from numpy.typing import NDArray
from openapi_checks import assert_documented
from PIL import Image
from tiny_models import TinyModel, publish_tiny
from tiny_previews import tiny_preview

from model_store import ModelStore
from model_store.npz import pack_arrays
from service.api.native import preview as preview_module
from service.api.native.preview import COLUMNS, PreviewRoutes
from service.app import create_app
from service.security.api_keys import new_key
from service.settings import Settings

KEY, ENTRY = new_key("use", "phone-app")
TINY = TinyModel.make(latent_size=8, seed=0)
SPEC, SHOWN = tiny_preview(TINY, images=30, labels=("0", 'ä "b"', "7"))
LABELS = [SPEC.labels[index] for index in SHOWN.arrays["labels"]]
AUTO = TinyModel.make(image_shape=(2, 6, 5), latent_size=3, kind="ae")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mnist` with a preview, as its second version; `codes`, an autoencoder of two channels, with one."""
    store = ModelStore(tmp_path_factory.mktemp("previews") / "models")
    publish_tiny(store, name="mnist", model=TINY)
    publish_tiny(store, name="mnist", model=TINY, shown=(SPEC, SHOWN))
    publish_tiny(store, name="codes", model=AUTO, shown=tiny_preview(AUTO, labels=()))
    return store.root


@pytest.fixture(scope="module")
def api(store: Path) -> Iterator[Caller]:
    with Caller(create_app(Settings(model_store=store, threads=1))) as caller:
        yield caller


def arrays_of(answer: Answer) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(answer.body), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays}


def test_json_has_the_published_numbers_and_the_label_of_each_image(api: Caller) -> None:
    answer = api.get("/models/mnist/preview")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model"] == "mnist@2"
    document = answer.json()
    assert list(document) == ["model", "protocol", "thumbnail", "labels", "kl", "mu", "logvar"]
    assert (document["model"], document["protocol"]) == ("mnist@2", SPEC.protocol)
    assert (document["thumbnail"], document["labels"]) == ([1, 28, 28], LABELS)
    for name in ("mu", "logvar", "kl"):
        np.testing.assert_array_equal(np.array(document[name], np.float32), SHOWN.arrays[name])


@pytest.mark.parametrize("suffix", ["", ".npz", ".png"])
def test_each_form_is_as_documented(api: Caller, suffix: str) -> None:
    document = json.loads(api.get("/openapi.json").body)
    answer = api.get(f"/models/mnist/preview{suffix}")
    assert answer.status == 200
    assert_documented(document, "get", f"/models/{{name}}/preview{suffix}", answer)


@pytest.mark.parametrize("way", ["suffix", "accept"])
def test_npz_has_the_images_too(api: Caller, way: str) -> None:
    suffix, headers = (".npz", {}) if way == "suffix" else ("", {"accept": "application/x-npz"})
    answer = api.get(f"/models/mnist@2/preview{suffix}", headers)
    arrays = arrays_of(answer)
    assert list(arrays) == ["mu", "logvar", "kl", "labels", "thumbnails", "model"]
    for name in ("mu", "logvar", "kl", "thumbnails"):
        np.testing.assert_array_equal(arrays[name], SHOWN.arrays[name])
        assert arrays[name].dtype == SHOWN.arrays[name].dtype
    assert (arrays["labels"].tolist(), str(arrays["model"])) == (LABELS, "mnist@2")


def test_png_is_a_sheet_of_the_images_in_their_order(api: Caller) -> None:
    answer = api.get("/models/mnist/preview.png")
    with Image.open(io.BytesIO(answer.body)) as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (2 * 29 + 1, COLUMNS * 29 + 1)
    for number, thumbnail in enumerate(SHOWN.thumbnails):
        row, column = divmod(number, COLUMNS)
        np.testing.assert_array_equal(sheet[29 * row + 1 :, 29 * column + 1 :][:28, :28], thumbnail[0])


def test_images_that_the_points_belong_to_are_those_that_encode_takes(api: Caller) -> None:
    images = arrays_of(api.get("/models/mnist/preview.npz"))["thumbnails"]
    buffer = io.BytesIO()
    np.save(buffer, images)
    answer = api.post("/encode", buffer.getvalue(), content_type="application/x-npy")
    np.testing.assert_allclose(answer.json()["mu"], SHOWN.mu, atol=1e-5)


def test_autoencoder_has_neither_variances_nor_labels_nor_a_picture_of_two_channels(api: Caller) -> None:
    document = api.get("/models/codes/preview").json()
    assert [document[name] for name in ("labels", "kl", "logvar")] == [None, None, None]
    assert list(arrays_of(api.get("/models/codes/preview.npz"))) == ["mu", "thumbnails", "model"]
    answer = api.get("/models/codes/preview.png")
    assert (answer.status, answer.code) == (406, "form-not-available")


def test_list_of_models_says_which_versions_have_one(api: Caller) -> None:
    api.get("/models/mnist@1")
    listed = {model["model"]: model["preview"] for model in api.get("/models").json()["models"]}
    assert listed == {"codes@1": True, "mnist@1": False, "mnist@2": True}
    assert api.get("/models/mnist@1").json()["preview"] is False


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/models/mnist@1/preview", 404, "no-preview"),
        ("/models/mnist@1/preview.png", 404, "no-preview"),
        ("/models/mnist@9/preview", 404, "unknown-model"),
        ("/models/nothing/preview.npz", 404, "unknown-model"),
        ("/models/..%2fmnist/preview", 404, "unknown-path"),
        ("/models/mnist/preview?n=1", 422, "invalid-parameter"),
        ("/models/mnist/preview.gif", 406, "form-not-available"),
        ("/models/nothing/preview.txt", 406, "form-not-available"),
    ],
)
def test_other_requests_are_refused(api: Caller, target: str, status: int, code: str) -> None:
    answer = api.get(target)
    assert (answer.status, answer.code) == (status, code)


def test_refusal_names_the_version_and_the_remedy(api: Caller) -> None:
    document = api.get("/models/mnist@1/preview").json()
    assert "mnist@1 was published without a preview" in document["detail"]
    assert "vae-train add-preview" in document["remedy"]


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("/models/mnist/preview", "no-cache"),
        ("/models/mnist@latest/preview.npz", "no-cache"),
        ("/models/mnist@2/preview", "public, max-age=31536000, immutable"),
        ("/models/mnist@2/preview.png", "public, max-age=31536000, immutable"),
    ],
)
def test_client_that_has_it_receives_304(
    api: Caller, target: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.get(target)
    assert first.headers["cache-control"] == kept
    monkeypatch.setattr("service.api.native.preview._WRITERS", dict.fromkeys(_forms()))
    again = api.get(target, {"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    same = ("etag", "cache-control", "x-model")
    assert [again.headers[name] for name in same] == [first.headers[name] for name in same]
    assert again.headers.get("vary") == first.headers.get("vary")
    assert "content-type" not in again.headers


def _forms() -> list[object]:
    from service.api.native.preview import _WRITERS

    return list(_WRITERS)


def test_each_form_and_version_has_its_own_etag(api: Caller) -> None:
    targets = [f"/models/{name}/preview{suffix}" for name in ("mnist", "codes") for suffix in ("", ".npz")]
    assert len({api.get(target).headers["etag"] for target in targets}) == len(targets)
    assert (
        api.get("/models/mnist@2/preview").headers["etag"] == api.get("/models/mnist/preview").headers["etag"]
    )


def test_key_opens_it_for_its_caller_alone(store: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{ENTRY.line}\n")
    keys.chmod(0o600)
    with Caller(create_app(Settings(model_store=store, threads=1, api_keys_file=keys))) as locked:
        assert locked.get("/models/mnist/preview").code == "missing-key"
        answer = locked.get("/models/mnist@2/preview", {"authorization": f"Bearer {KEY}"})
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert "authorization" in answer.headers["vary"].lower()


def test_head_has_the_headers_of_get(api: Caller) -> None:
    got, head = (api.call(method, "/models/mnist/preview.npz") for method in ("GET", "HEAD"))
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]


def test_paths_of_the_document_are_those_of_the_routes(api: Caller) -> None:
    document = json.loads(api.get("/openapi.json").body)
    assert {resource.path for resource in PreviewRoutes.resources} <= set(document["paths"])


def test_body_is_packed_once_and_kept_for_the_latest_versions(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page that opens asks for the same bytes."""
    packed: list[int] = []

    def packing(arrays: Mapping[str, NDArray[Any]]) -> bytes:
        packed.append(len(arrays))
        return pack_arrays(arrays)

    monkeypatch.setattr(preview_module, "pack_arrays", packing)
    monkeypatch.setattr(preview_module, "_MOST_KEPT", 1)
    with Caller(create_app(Settings(model_store=store, threads=1))) as caller:
        names = ("mnist", "mnist@2", "mnist")
        assert len({caller.get(f"/models/{name}/preview.npz").body for name in names}) == 1
        assert len(packed) == 1
        assert arrays_of(caller.get("/models/codes/preview.npz")).keys() >= {"mu", "thumbnails"}
        assert arrays_of(caller.get("/models/mnist/preview.npz"))["model"] == "mnist@2"
        assert len(packed) == 3
