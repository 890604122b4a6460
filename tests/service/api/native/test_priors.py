"""/sample with priors and labels: each form says what it drew from, and refuses what is not there."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pytest
from http_calls import Caller
from openapi_checks import assert_documented, parameters_of, resolve
from tiny_models import TinyModel, publish_tiny
from tiny_priors import fitted_prior

from model_store import ModelStore
from model_store.echo import echo
from service.app import create_app
from service.settings import Settings

LATENT = 8
#: One that a header, an address and JSON each write in their own way.
ODD_LABEL = 'ä "b"/c'
LABELS = {"0": 1, "1": 2, "7": 3, ODD_LABEL: 1}
FORMS = ("json", "png", "npy", "npz", "txt")


@pytest.fixture(scope="module")
def tiny_with_prior() -> TinyModel:
    return TinyModel.make(latent_size=LATENT, seed=0)


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory, tiny_with_prior: TinyModel) -> Iterator[Caller]:
    """`mnist` with a fitted prior, `bare` without; `plain` and `codes`, autoencoders without and with."""
    root = tmp_path_factory.mktemp("priors") / "models"
    store = ModelStore(root)
    publish_tiny(store, name="mnist", model=tiny_with_prior, fitted=fitted_prior(LATENT, labels=LABELS))
    publish_tiny(store, name="bare", model=tiny_with_prior)
    publish_tiny(store, name="plain", kind="ae", latent_size=LATENT)
    publish_tiny(store, name="codes", kind="ae", latent_size=LATENT, fitted=fitted_prior(LATENT))
    settings = Settings(model_store=root, threads=1, max_images=64, max_stream_images=1000)
    with Caller(create_app(settings)) as caller:
        yield caller


def images_of(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body), allow_pickle=False)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_which_prior_was_used(priors: Caller, form: str) -> None:
    for query, prior, label in (
        ("", "fitted", None),
        ("&prior=fitted", "fitted", None),
        ("&prior=standard", "standard", None),
        ("&label=7", "fitted", "7"),
        ("&prior=fitted&label=7", "fitted", "7"),
        ("&model=bare", "standard", None),
        ("&model=codes", "fitted", None),
    ):
        answer = priors.get(f"/sample.{form}?n=2&seed=3{query}")
        assert answer.status == 200, answer.body
        assert answer.headers["x-prior"] == prior
        assert answer.headers.get("x-label") == label
        if form == "json":
            assert (answer.json()["prior"], answer.json()["label"]) == (prior, label)
        if form == "npz":
            arrays = np.load(io.BytesIO(answer.body), allow_pickle=False)
            assert str(arrays["prior"]) == prior
            assert (str(arrays["label"]) if "label" in arrays else None) == label


def test_a_label_of_any_letters_goes_there_and_back(priors: Caller) -> None:
    by_query = priors.get(f"/sample?seed=1&label={quote(ODD_LABEL, safe='')}")
    by_body = priors.post_json("/sample", {"seed": 1, "label": ODD_LABEL})
    assert by_query.status == 200
    assert by_query.body == by_body.body
    assert by_query.json()["label"] == ODD_LABEL
    assert unquote(by_query.headers["x-label"]) == ODD_LABEL
    assert by_query.headers["x-label"].isascii()


def test_headers_and_seed_are_enough_to_draw_the_same_again(priors: Caller) -> None:
    drawn = priors.get("/sample.png?n=3&label=1&temperature=0.6")
    told = drawn.headers
    again = priors.get(
        f"/sample.png?n=3&model={told['x-model']}&seed={told['x-seed']}&temperature={told['x-temperature']}"
        f"&prior={told['x-prior']}&label={told['x-label']}"
    )
    assert again.body == drawn.body


def test_a_label_draws_from_where_its_images_lie(priors: Caller) -> None:
    """The means of label number i lie about 10 i in every direction."""
    for number, label in enumerate(LABELS, start=1):
        z = np.array(priors.get(f"/sample?n=64&seed=5&label={quote(label, safe='')}").json()["z"])
        assert abs(z.mean() - 10 * number) < 4


def test_images_are_what_the_decoder_makes_of_z(priors: Caller, tiny_with_prior: TinyModel) -> None:
    for query in ("", "&prior=standard", "&label=0"):
        document = priors.get(f"/sample?n=4&seed=2{query}").json()
        expected = tiny_with_prior.decode(np.array(document["z"], np.float32))
        np.testing.assert_allclose(document["images"], expected, atol=1e-5)


def test_the_standard_prior_of_a_version_with_a_fitted_one_is_what_it_was(priors: Caller) -> None:
    """Every seed written down before the prior was fitted still draws its image."""
    with_prior = priors.get("/sample.npy?n=9&seed=8&prior=standard")
    assert with_prior.body == priors.get("/sample.npy?n=9&seed=8&model=bare").body


@pytest.mark.parametrize("query", ["", "&label=7", "&prior=standard"])
def test_image_of_a_seed_does_not_depend_on_how_many_are_drawn(priors: Caller, query: str) -> None:
    whole = images_of(priors.get(f"/sample.npy?n=300&seed=6{query}").body)
    assert len(whole) == 300, "streamed, being more than are held whole"
    for n in (1, 2, 17, 63, 64, 65, 130):
        part = images_of(priors.get(f"/sample.npy?n={n}&seed=6{query}").body)
        assert part.tobytes() == whole[:n].tobytes()


def test_a_streamed_answer_says_what_a_short_one_says(priors: Caller) -> None:
    told = priors.get("/sample.npy?n=300&seed=6&label=7").headers
    assert (told["x-prior"], told["x-label"], told["x-seed"]) == ("fitted", "7", "6")
    decoded = priors.post("/decode.npy", npy(np.zeros((300, LATENT), np.float32)), "application/x-npy")
    assert decoded.status == 200
    assert "x-prior" not in decoded.headers


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_query_and_body_say_the_same_and_not_both(priors: Caller) -> None:
    for values in ({"prior": "standard"}, {"label": "7"}, {"prior": "fitted", "label": "7"}):
        query = "&".join(f"{name}={value}" for name, value in values.items())
        by_query = priors.get(f"/sample?n=2&seed=7&{query}")
        by_body = priors.post_json("/sample", {"n": 2, "seed": 7, **values})
        assert by_query.status == 200
        assert by_query.body == by_body.body
        twice = priors.post_json(f"/sample?seed=7&{query}", values)
        assert (twice.status, twice.code) == (422, "invalid-parameter")


@pytest.mark.parametrize(
    ("query", "code", "told"),
    [
        ("label=9", "unknown-label", "one of [0, 1, 7, "),
        ("label=", "unknown-label", "one of [0, 1, 7, "),
        ("label=zero&n=300", "unknown-label", "one of [0, 1, 7, "),
        ("label=7&model=bare", "no-prior", "the prior 'fitted', got one with standard"),
        ("prior=fitted&model=bare", "no-prior", "expected a version with the prior 'fitted'"),
        ("prior=standard&model=codes", "no-prior", "the prior 'standard', got one with fitted"),
        ("model=plain", "no-prior", "expected a variational autoencoder"),
        ("prior=fitted&model=plain", "no-prior", "expected a variational autoencoder"),
        ("label=7&prior=standard", "invalid-parameter", "label: expected none with prior=standard"),
        ("prior=best", "invalid-parameter", "prior: expected standard or fitted or learned, got `best`."),
        ("prior=", "invalid-parameter", "expected standard or fitted or learned"),
        ("prior=Fitted", "invalid-parameter", "expected standard or fitted or learned"),
        ("label=7&label=8", "invalid-parameter", "expected one value, got more than one"),
        (f"label={'x' * 65}", "invalid-parameter", "expected text of at most 64 characters"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_with_what_to_send(
    priors: Caller, query: str, code: str, told: str
) -> None:
    answer = priors.get(f"/sample.npy?{query}")
    assert (answer.status, answer.code) == (422, code), answer.body
    assert told in answer.json()["detail"]


@pytest.mark.parametrize("value", [7, 7.0, True, None, [], {}, ["7"], "7 ", " 7", "x" * 65, "\x00", "７"])
def test_a_label_in_a_body_is_text_that_matches_and_nothing_is_coerced(priors: Caller, value: Any) -> None:
    answer = priors.post_json("/sample", {"label": value})
    assert answer.status == 422
    assert answer.code in ("invalid-value", "unknown-label")


def test_a_number_for_a_label_is_told_how_to_write_it(priors: Caller) -> None:
    item = priors.post_json("/sample", {"label": 7}).json()["errors"][0]
    assert item["remedy"] == 'Such as {"label": "7"}.'


def test_a_client_s_label_comes_back_escaped(priors: Caller) -> None:
    for text in ("<script>alert(1)</script>", "7`", "\x1b[31m", "x" * 64):
        for answer in (
            priors.get(f"/sample?label={quote(text)}"),
            priors.post_json("/sample", {"label": text}),
            priors.get(f"/sample?prior={quote(text)}"),
        ):
            assert answer.status == 422
            assert f"got {echo(text)}." in answer.json()["detail"]
            assert json.dumps(text)[1:-1].encode() not in answer.body or text.isprintable()


def test_models_tell_priors_labels_and_how_they_were_fitted(priors: Caller) -> None:
    by_name = {model["name"]: model for model in priors.get("/models").json()["models"]}
    assert (by_name["mnist"]["priors"], by_name["mnist"]["labels"]) == (["standard", "fitted"], list(LABELS))
    assert (by_name["bare"]["priors"], by_name["bare"]["labels"]) == (["standard"], [])
    assert (by_name["plain"]["priors"], by_name["codes"]["priors"]) == ([], ["fitted"])
    facts = priors.get("/models/mnist").json()["fitted_prior"]
    assert facts["components"] == 3
    assert facts["labels"][2] == {"label": "7", "components": 3, "share": 0.25}
    assert facts["protocol"]
    assert all(metric["protocol"] for metric in facts["metrics"])
    assert priors.get("/models/bare").json()["fitted_prior"] is None


def test_every_answer_about_priors_is_as_documented(priors: Caller) -> None:
    document = priors.get("/openapi.json").json()
    for path, target, status in (
        ("/sample", "/sample?label=7", 200),
        ("/sample.npz", "/sample.npz?label=7", 200),
        ("/sample", "/sample?label=9", 422),
        ("/sample", "/sample?prior=standard&model=codes", 422),
        ("/models", "/models", 200),
        ("/models/{name}", "/models/mnist", 200),
        ("/models/{name}", "/models/bare", 200),
    ):
        answer = priors.get(target)
        assert answer.status == status, target
        assert_documented(document, "GET", path, answer)
    query = parameters_of(document, document["paths"]["/sample"]["get"])
    assert resolve(document, query["prior"]["schema"])["enum"] == ["standard", "fitted", "learned"]
    assert query["label"]["schema"]["maxLength"] == 64


def test_help_asks_for_a_label_where_the_default_model_has_some(priors: Caller, api: Caller) -> None:
    told = priors.get("/").body.decode()
    (command,) = [line for line in told.splitlines() if "label=" in line]
    target = command.split("localhost:8000")[1].rstrip("'")
    assert priors.get(target).status == 200
    assert "label=" not in api.get("/").body.decode()


def test_seeds_stay_exact_across_restarts(tmp_path: Path, priors: Caller) -> None:
    """Another application, over another copy of the version, with another number of threads."""
    store = ModelStore(tmp_path / "models")
    model = TinyModel.make(latent_size=LATENT, seed=0)
    publish_tiny(store, name="mnist", model=model, fitted=fitted_prior(LATENT, labels=LABELS))
    with Caller(create_app(Settings(model_store=store.root, threads=2))) as other:
        for query in ("", "&label=1", "&prior=standard"):
            target = f"/sample.npy?n=40&seed=12{query}"
            assert other.get(target).body == priors.get(target).body
