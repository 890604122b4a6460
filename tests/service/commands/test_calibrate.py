"""`vae-store calibrate`, and `/score?flag=true` of the version that it publishes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_calls import Caller
from linear_gaussian import SHAPE, LinearGaussian, orthogonal
from PIL import Image
from tiny_learned import TinyLearnedPrior
from tiny_models import TinyModel, publish_tiny

from model_store import ModelStore
from model_store.cli import main
from service.app import create_app
from service.commands.runtime_commands import COMMANDS
from service.settings import Settings

MODEL = LinearGaussian(orthogonal(), sigma=0.1)
RATE, CALIBRATED, HELD_OUT = 0.05, 4000, 1000
#: Outside of which lie at most 2.5 % on each side, of the binomial of 1000 and 0.05.
ALARMS = (37, 64)


def normal(count: int, seed: int) -> np.ndarray:
    """Images as the model draws them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 2)) @ MODEL.weight.T + MODEL.bias
    x += MODEL.sigma * rng.standard_normal(x.shape)
    return np.clip(x, 0.0, 1.0).astype(np.float32).reshape(count, *SHAPE)


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibration")


@pytest.fixture(scope="module")
def store(folder: Path) -> ModelStore:
    """`tiny`: version 1 without thresholds, version 2 with."""
    made = ModelStore(folder / "models")
    MODEL.publish(made)
    data = npy(folder / "normal.npy", normal(CALIBRATED, 0))
    other = npy(folder / "other.npy", np.random.default_rng(5).random((200, *SHAPE)).astype(np.float32))
    arguments = ["calibrate", "tiny@1", "--data", str(data), "--rate", str(RATE), "--against", str(other)]
    assert main([*arguments, "--alias", "stable", "--store", str(made.root)], more=COMMANDS) == 0
    return made


@pytest.fixture(scope="module")
def api(store: ModelStore) -> Iterator[Caller]:
    settings = Settings(model_store=store.root, default_model="tiny", threads=1, max_images=1000)
    with Caller(create_app(settings)) as caller:
        yield caller


def scored(api: Caller, images: np.ndarray, query: str = "flag=true") -> Any:
    body = io.BytesIO()
    np.save(body, images)
    answer = api.post(f"/score?seed=3&{query}", body.getvalue(), "application/x-npy")
    assert answer.status == 200, answer.body[:300]
    return answer.json()


def test_the_next_version_has_the_graphs_and_thresholds(store: ModelStore) -> None:
    before, after = store.open("tiny@1"), store.open("tiny@2")
    assert store.resolve("tiny@stable") == after.id
    assert (after.encoder, after.decoder) == (before.encoder, before.decoder)
    made = after.manifest.calibration
    assert (made.rate, made.images, made.flagged_by) == (RATE, CALIBRATED, "negative_elbo")
    assert (made.data, made.against) == ("4000 images of normal.npy", "200 images of other.npy")
    assert "## Thresholds" in after.card
    assert after.card.startswith("# tiny, version 2\n")


def test_other_images_are_told_apart_and_the_manifest_states_how_well(store: ModelStore) -> None:
    made = store.open("tiny@2").manifest.calibration
    assert made.figure("reconstruction_nll").auroc > 0.99
    assert 0.0 <= made.figure("kl").auroc <= 1.0


def test_false_alarms_on_held_out_images_lie_in_the_binomial_interval(api: Caller) -> None:
    found = scored(api, normal(HELD_OUT, 1))
    assert ALARMS[0] <= sum(found["flags"]) <= ALARMS[1]


def test_an_answer_has_value_quantile_and_flag_of_each_image(api: Caller, store: ModelStore) -> None:
    made = store.open("tiny@2").manifest.calibration
    odd = np.random.default_rng(6).random((3, *SHAPE)).astype(np.float32)
    found = scored(api, np.concatenate([normal(40, 2), odd]))
    assert (found["flagged_by"], found["rate"]) == ("negative_elbo", RATE)
    assert found["threshold"] == made.figure("negative_elbo").threshold
    assert found["flags"][-3:] == [True] * 3
    for value, flagged, quantile in zip(
        found["elbo"], found["flags"], found["negative_elbo_quantile"], strict=True
    ):
        assert flagged is (-value > found["threshold"])
        assert 0.0 <= quantile <= 1.0
        assert abs(quantile - (1 - RATE)) < 0.02 or flagged is (quantile > 1 - RATE)
    for name in ("reconstruction_nll", "kl"):
        order = np.argsort(found[name])
        assert (np.diff(np.array(found[f"{name}_quantile"])[order]) >= 0).all()


def test_every_form_has_the_flags(api: Caller) -> None:
    body = io.BytesIO()
    np.save(body, normal(3, 2))
    archive = api.post("/score.npz?flag=true&seed=3", body.getvalue(), "application/x-npy")
    arrays = np.load(io.BytesIO(archive.body))
    assert arrays["flags"].dtype == np.bool_
    assert arrays["threshold"].shape == ()
    text = api.post("/score.txt?flag=true&seed=3", body.getvalue(), "application/x-npy").body.decode()
    assert text.splitlines()[0].split()[-4:] == [
        "flags", "reconstruction_nll_quantile", "kl_quantile", "negative_elbo_quantile",
    ]  # fmt: skip
    assert text.splitlines()[1].split()[-4] in ("yes", "no")


def test_without_flag_an_answer_is_as_before(api: Caller) -> None:
    with_flags, without = scored(api, normal(2, 2)), scored(api, normal(2, 2), "flag=false")
    added = {"flagged_by", "rate", "threshold", "flags"}
    added |= {f"{name}_quantile" for name in ("reconstruction_nll", "kl", "negative_elbo")}
    assert set(with_flags) - set(without) == added
    assert {name: with_flags[name] for name in without} == without


def test_a_version_without_thresholds_names_the_command(api: Caller) -> None:
    body = io.BytesIO()
    np.save(body, normal(1, 2))
    refused = api.post("/score?flag=true&model=tiny@1", body.getvalue(), "application/x-npy")
    assert (refused.status, refused.code) == (422, "no-thresholds")
    assert "vae-store calibrate tiny@1 --data normal/" in refused.json()["detail"]


def test_thresholds_of_another_binarisation_do_not_apply(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="tiny", aliases=("stable",))
    images = npy(tmp_path / "x.npy", (np.random.default_rng(0).random((200, 28, 28)) * 255).astype(np.uint8))
    arguments = ["calibrate", "tiny", "--data", str(images), "--rate", "0.05", "--alias", "stable"]
    assert main([*arguments, "--store", str(store.root)], more=COMMANDS) == 0
    settings = Settings(model_store=store.root, default_model="tiny", threads=1)
    with Caller(create_app(settings)) as api:
        body = io.BytesIO()
        np.save(body, np.zeros((1, 28, 28), np.uint8))
        refused = api.post("/score?flag=true&binarise=none", body.getvalue(), "application/x-npy")
        assert (refused.status, refused.code) == (422, "invalid-parameter")
        assert api.post("/score?flag=true", body.getvalue(), "application/x-npy").status == 200


def run(store: ModelStore, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["calibrate", *arguments, "--store", str(store.root)], more=COMMANDS)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_too_few_images_are_refused_with_the_rate_that_they_allow(
    folder: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    few = npy(folder / "few.npy", normal(999, 0))
    versions = store.versions("tiny")
    code, _, error = run(store, capsys, "tiny@1", "--data", str(few), "--rate", "0.01")
    assert code == 65
    assert "expected at least 1000 images for a rate of 0.01, got 999" in error
    assert store.versions("tiny") == versions


def test_a_folder_of_pictures_is_read_as_the_server_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ModelStore(tmp_path / "models")
    model = TinyModel.make(image_shape=(1, 8, 8), latent_size=2)
    publish_tiny(store, name="tiny", model=model)
    rng = np.random.default_rng(0)
    for at in range(30):
        path = tmp_path / "pictures" / ("a" if at % 2 else "b") / f"{at}.{'png' if at % 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)).save(path)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    options = ("--data", str(tmp_path / "pictures"), "--rate", "0.5", "--by", "kl", "--json")
    code, out, _ = run(store, capsys, "tiny", *options)
    assert code == 0
    document = json.loads(out)
    assert (document["images"], document["flagged_by"]) == (30, "kl")
    # The next calibration replaces this one, in the manifest and in the card.
    assert run(store, capsys, "tiny", *options)[0] == 0
    assert store.open("tiny@3").card.count("## Thresholds") == 1

    (tmp_path / "pictures" / "a" / "broken.png").write_bytes(b"no PNG")
    code, _, error = run(store, capsys, "tiny", *options)
    assert code == 65
    assert "broken.png" in error


def test_a_version_with_a_learned_prior_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ModelStore(tmp_path / "models")
    before = models.open(publish_tiny(models, learned=TinyLearnedPrior(latent_size=8)))
    images = npy(
        tmp_path / "normal.npy", np.random.default_rng(1).random((200, 1, 28, 28)).astype(np.float32)
    )
    assert run(models, capsys, "tiny", "--data", str(images), "--rate", "0.05")[0] == 0
    after = models.open("tiny@2")
    assert after.manifest.calibration is not None
    assert after.manifest.priors == before.manifest.priors
    assert before.learned_prior is not None
    assert after.learned_prior is not None
    assert after.learned_prior.payload() == before.learned_prior.payload()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nothing", "nothing there"),
        ("empty", "found none"),
        ("wrong.npy", "of shape (30, 3, 3)"),
        ("text.npy", "as numpy.save writes it"),
        ("note.txt", "another file"),
    ],
)
def test_data_that_is_no_images_of_the_model_is_refused(
    folder: Path, store: ModelStore, capsys: pytest.CaptureFixture[str], data: str, message: str
) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    np.save(folder / "wrong.npy", np.zeros((30, 3, 3)))
    (folder / "text.npy").write_text("no array")
    (folder / "note.txt").write_text("no array")
    code, _, error = run(store, capsys, "tiny@1", "--data", str(folder / data), "--rate", "0.5")
    assert code == 65
    assert message in error


def test_an_autoencoder_has_no_thresholds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ModelStore(tmp_path / "models")
    publish_tiny(store, name="plain", kind="ae")
    images = npy(tmp_path / "x.npy", np.zeros((20, 28, 28), np.uint8))
    code, _, error = run(store, capsys, "plain", "--data", str(images), "--rate", "0.5")
    assert code == 65
    assert "autoencoder" in error


def test_a_figure_that_does_not_separate_other_images_is_named(
    folder: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    same = npy(folder / "same.npy", normal(300, 8))
    data = npy(folder / "again.npy", normal(300, 9))
    code, out, _ = run(store, capsys, "tiny@1", "--data", str(data), "--rate", "0.05", "--against", str(same))
    assert code == 0
    assert "warning: negative_elbo hardly separates these other images" in out


@pytest.mark.parametrize("rate", ["0", "0.6", "-1", "nan", "often"])
def test_a_rate_is_a_share(store: ModelStore, capsys: pytest.CaptureFixture[str], rate: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run(store, capsys, "tiny", "--data", "x", f"--rate={rate}")
    assert stop.value.code == 2
    assert "expected a share above 0 and up to 0.5" in capsys.readouterr().err
