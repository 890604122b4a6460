"""`fit-prior` as typed: on a run, whose export then carries the prior, and on a published version."""

# ruff: noqa: PLR0917  # a test asks for as many fixtures as it needs

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from direct import directly, load
from finished_runs import export_once, make_finished_run

from model_store import ModelStore, PriorMixtures
from model_store.errors import GoldenMismatch
from service.engine import sample
from training import cli
from training.data import load_mnist
from training.errors import DataError, ExportError, RunDirectoryError
from training.graphs.parity import OnnxPair
from training.judge.classifier import Judge, JudgeFacts, JudgeNetwork, labels_fingerprint, save_judge
from training.judge.fitting import fit_judge
from training.publishing import export as export_module
from training.publishing.export import export_run
from training.publishing.fit_prior import PriorRequest, fit_prior_of_run, fit_prior_of_version
from training.runs.run_directory import RunDirectory, load_run, save_model

DIGITS = tuple("0123456789")


@pytest.fixture(autouse=True)
def export_each_model_once(monkeypatch):
    """The exporter itself is tested in `test_onnx_graphs`, and whole in `tests/contract`."""
    monkeypatch.setattr(export_module, "export_graphs", export_once)


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    """How many Gaussians are best is tested in `test_mixtures`; trying forty takes a second each time."""
    monkeypatch.setattr("training.priors.selection.CANDIDATES", (1, 4))
    monkeypatch.setattr("training.priors.selection.LABEL_CANDIDATES", (1, 2))


@pytest.fixture(scope="module")
def all_digits(mnist_folder):
    """What `--data` names: 1,600 to train on, of which the tiny run holds back 100, and 400 to test."""
    return load_mnist(mnist_folder)


@pytest.fixture
def make_run(tmp_path, tiny, all_digits):
    return lambda **sections: make_finished_run(tmp_path / "run", tiny(**sections), all_digits)


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.fixture
def export(store, tmp_path):
    return lambda run_dir: export_run(
        run_dir,
        name="digits",
        store=store,
        cache_dir=tmp_path / "cache",
        tell=lambda _: None,
        allow_collapsed=True,
    )


def fit_prior(run_dir: Path, mnist_folder: Path, *more: str) -> int:
    return cli.main(["fit-prior", str(run_dir), "--data", str(mnist_folder), *more])


def test_a_prior_fitted_to_a_run_is_published_by_its_export(make_run, export, store, mnist_folder, capsys):
    run_dir = make_run()
    assert fit_prior(run_dir, mnist_folder) == 0
    said = capsys.readouterr().out
    assert "label 7: " in said
    assert "prior_log_density" in said
    assert "publish it" not in said, "its latents carry no information about the images yet"
    assert f"wrote {run_dir}/prior.npz; not worth publishing: the latents carry no information" in said
    model = store.open(export(run_dir))
    fitted = model.manifest.fitted_prior
    assert fitted is not None
    assert tuple(each.label for each in fitted.labels) == DIGITS
    assert model.prior is not None
    assert (run_dir / "prior.npz").read_bytes() == model.prior.to_bytes()
    stored = json.loads((run_dir / "prior.json").read_text())
    assert stored["fitted"] == fitted.model_dump(mode="json")
    figures = json.loads((run_dir / "evaluation.json").read_text())["metrics"]
    assert [metric.model_dump() for metric in model.manifest.metrics] == figures


def test_the_prior_of_a_sound_run_ends_with_the_next_command(make_run, mnist_folder, capsys, monkeypatch):
    run_dir = make_run()
    monkeypatch.setattr("training.commands.fit_prior.reason_against_publishing", lambda *_, **__: "")
    assert fit_prior(run_dir, mnist_folder, "--no-labels") == 0
    said = capsys.readouterr().out.rstrip()
    assert said.endswith(f"publish it: vae-train export {run_dir} --name NAME")


def test_latents_are_those_of_the_run_s_model(make_run, mnist_folder, all_digits):
    """An untrained encoder's latents have a mean and covariance of their own; the mixture has the same."""
    run_dir = make_run()
    fit = fit_prior_of_run(run_dir, PriorRequest(data_dir=mnist_folder))
    whole = fit.mixtures.split(fit.entry)[0]
    with torch.inference_mode():
        posterior = load_run(run_dir).model.encode(all_digits.train.images.float() / 255.0)
    mean = posterior.mu.mean(dim=0).numpy()
    std = (posterior.mu.var(dim=0) + posterior.logvar.exp().mean(dim=0)).sqrt().numpy()
    np.testing.assert_allclose(whole.weights @ whole.means, mean, atol=0.2 * std.max())


def test_export_without_a_prior_is_as_before(make_run, export, store):
    model = store.open(export(make_run()))
    assert [prior.name for prior in model.manifest.priors] == ["standard"]
    assert (model.prior, model.manifest.schema_version) == (None, 3)
    assert "## Fitted prior" not in model.card


def test_a_prior_of_other_weights_is_refused_and_nothing_published(
    make_run, export, store, mnist_folder, all_digits
):
    """A resumed run must not publish the prior of what it was before."""
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder)
    model = load_run(run_dir).model
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)
    save_model(RunDirectory(run_dir), model, epochs=3)
    from training.evaluation.figures import evaluate_run

    evaluate_run(run_dir, mnist_folder)
    with pytest.raises(
        ExportError, match=r"prior\.npz: expected a prior of the weights in model\.pt.*fit-prior"
    ):
        export(run_dir)
    assert store.names() == ()
    fit_prior(run_dir, mnist_folder)
    assert store.open(export(run_dir)).prior is not None


@pytest.mark.parametrize(
    "damage", ["other npz", "no npz", "no json", "half a json", "other json", "lying entry"]
)
def test_a_prior_that_does_not_belong_together_is_refused(make_run, export, store, mnist_folder, damage):
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder, "--no-labels")
    npz, facts = run_dir / "prior.npz", run_dir / "prior.json"
    if damage == "other npz":
        npz.write_bytes(npz.read_bytes() + b"\0")
    elif damage == "no npz":
        npz.unlink()
    elif damage == "no json":
        facts.unlink()
    elif damage == "half a json":
        facts.write_text(facts.read_text()[:100])
    elif damage == "other json":
        facts.write_text("{}")
    else:
        document = json.loads(facts.read_text())
        document["fitted"]["components"] += 1
        facts.write_text(json.dumps(document))
    with pytest.raises(
        RunDirectoryError, match=r"prior\.npz: expected the output of `vae-train fit-prior`"
    ) as caught:
        export(run_dir)
    assert "remove both files to continue without" in str(caught.value)
    assert store.names() == ()


def test_fitting_again_takes_the_place_of_the_first(make_run, mnist_folder):
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder)
    first = (run_dir / "prior.npz").read_bytes()
    fit_prior(run_dir, mnist_folder)
    assert (run_dir / "prior.npz").read_bytes() == first
    fit_prior(run_dir, mnist_folder, "--seed", "5")
    assert (run_dir / "prior.npz").read_bytes() != first
    assert not list(run_dir.glob(".*.part"))


def test_the_next_version_has_the_same_graphs_figures_and_golden_vectors(
    make_run, export, store, mnist_folder, capsys
):
    export(make_run())
    arguments = ["fit-prior", "digits@1", "--data", str(mnist_folder), "--alias", "stable"]
    assert cli.main([*arguments, "--store", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert f"published digits@2 in {store.root} (latest, stable)" in said
    assert "warning: not worth serving: the latents carry no information" in said
    assert f"look at it: vae-serve run --store {store.root} --default-model digits@2" in said
    assert store.aliases("digits") == {"latest": 2, "stable": 2}
    old, new = store.open("digits@1"), store.open("digits@2")
    assert (new.encoder, new.decoder) == (old.encoder, old.decoder)
    assert new.golden.to_bytes() == old.golden.to_bytes()
    same = ("metrics", "image", "likelihood", "description", "licence", "kind", "golden")
    assert all(getattr(new.manifest, name) == getattr(old.manifest, name) for name in same)
    before, after = (m.manifest.provenance.model_dump(exclude={"created_at"}) for m in (old, new))
    assert before == after
    assert new.manifest.provenance.created_at >= old.manifest.provenance.created_at
    assert tuple(each.label for each in new.manifest.fitted_prior.labels) == DIGITS
    assert directly(sample, load(new), n=3, seed=1, label="4").label == "4"
    assert old.manifest.fitted_prior is None, "a published version never changes"


def test_a_run_and_the_version_exported_from_it_get_nearly_the_same_prior(
    make_run, export, store, mnist_folder
):
    """torch and onnxruntime differ in the last bits of z, and nothing else is different."""
    run_dir = make_run()
    export(run_dir)
    request = PriorRequest(data_dir=mnist_folder, with_labels=False)
    of_run = fit_prior_of_run(run_dir, request)
    of_version = store.open(fit_prior_of_version("digits@1", request, store=store)).manifest.fitted_prior
    assert of_version.components == of_run.entry.components
    for one, other in zip(of_run.entry.metrics, of_version.metrics, strict=True):
        assert one.protocol == other.protocol
        assert one.value == pytest.approx(other.value, abs=0.02)


def test_a_prior_of_an_autoencoder_makes_it_a_generator(make_run, export, store, mnist_folder):
    """Ghosh et al. 2019, arXiv:1903.12436, section 4."""
    run_dir = make_run(model={"kind": "ae"})
    fit_prior(run_dir, mnist_folder)
    model = store.open(export(run_dir))
    assert [prior.name for prior in model.manifest.priors] == ["fitted"]
    assert "`z` is drawn from the fitted prior below" in model.card
    assert "sampling is refused" not in model.card
    assert directly(sample, load(model), n=2, seed=0).prior == "fitted"


def test_the_card_states_what_was_fitted_how_and_how_well(make_run, export, store, mnist_folder):
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder)
    model = store.open(export(run_dir))
    fitted = model.manifest.fitted_prior
    assert "## Fitted prior" in model.card
    for fact in (
        fitted.protocol,
        *(metric.protocol for metric in fitted.metrics),
        "or from the fitted prior below",
    ):
        assert fact in model.card
    for each in fitted.labels:
        assert f"{each.label} ({each.components}, {100 * each.share:.1f} %)" in model.card


def test_the_card_of_the_next_version_is_the_old_one_with_the_prior(make_run, export, store, mnist_folder):
    export(make_run())
    request = PriorRequest(data_dir=mnist_folder, with_labels=False)
    for number in (2, 3):
        fit_prior_of_version("digits", request, store=store)
        card = store.open(f"digits@{number}").card
        assert card.startswith(
            f"# digits, version {number}\n\nThe graphs of digits@{number - 1}, byte for byte, with a prior "
            "that was fitted later.\n"
        )
        assert card.count("fitted later") == 1
        assert card.count("## Fitted prior") == 1
        assert card.index("## Figures") < card.index("## Fitted prior") < card.index("## Training")
        rest = card[card.index("## Training") :]
        assert rest == store.open("digits@1").card[store.open("digits@1").card.index("## Training") :]


def test_a_card_of_somebody_else_s_keeps_its_words():
    """Another publisher's card may have other headings."""
    from tiny_models import CARD, TinyModel
    from tiny_priors import fitted_prior

    from model_store import Manifest, VersionId
    from model_store.integrity import UNSEALED
    from training.publishing.model_card import card_with_prior

    draft = TinyModel.make(latent_size=2).draft().with_fitted_prior(fitted_prior(2)[0])
    files: dict[str, Any] = {name: {"sha256": UNSEALED, "size_bytes": 1} for name in draft.file_names}
    manifest = Manifest(**dict(draft), version=5, files=files, manifest_sha256=UNSEALED)
    card = card_with_prior(CARD, of=VersionId("tiny", 4), manifest=manifest)
    assert card.startswith("# tiny, version 5\n\nThe graphs of tiny@4")
    assert CARD.strip() in card
    assert card.rstrip().endswith("measured on nothing. |")


# What is refused


def test_other_images_than_those_of_the_training_are_refused(
    make_run, export, store, mnist_folder, digits, tmp_path, tiny
):
    run_dir = make_finished_run(tmp_path / "fewer", tiny(), digits)
    with pytest.raises(DataError, match=r"expected the training images of the model .*name their folder"):
        fit_prior_of_run(run_dir, PriorRequest(data_dir=mnist_folder))
    assert not (run_dir / "prior.npz").exists()
    export(run_dir)
    with pytest.raises(DataError, match="expected the training images of the model"):
        fit_prior_of_version("digits@1", PriorRequest(data_dir=mnist_folder), store=store)
    assert store.versions("digits") == (1,)


def test_graphs_that_answer_otherwise_here_are_not_encoded_with(
    make_run, export, store, mnist_folder, monkeypatch
):
    export(make_run())
    encode = OnnxPair.encode
    monkeypatch.setattr(OnnxPair, "encode", lambda self, x: [a + 1 for a in encode(self, x)])
    with pytest.raises(GoldenMismatch, match="'mu'"):
        fit_prior_of_version("digits@1", PriorRequest(data_dir=mnist_folder), store=store)
    assert store.versions("digits") == (1,)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["RUN", "--alias", "stable"], 2, "--alias, --store: expected only with a published version"),
        (["RUN", "--store", "x"], 2, "--alias, --store"),
        (["RUN", "--seed", "-1"], 2, "--seed: expected 0 to 4,294,967,295, got -1"),
        (["runs/none"], 73, "found no config.json in it"),
        (["digits@9", "--store", "STORE"], 1, "`digits`: no such model"),
        (["digits@9@9", "--store", "STORE"], 1, "digits@9@9"),
        (["digits@1", "--alias", "a/b", "--store", "STORE"], 2, "--alias: expected a lower-case letter"),
        (["RUN", "--data", "/nowhere"], 65, "/nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_with_its_exit_code(
    make_run, store, mnist_folder, capsys, arguments, code, told
):
    places = {"RUN": str(make_run()) if "RUN" in arguments else "", "STORE": str(store.root)}
    arguments = [places.get(argument, argument) for argument in arguments]
    data = [] if "--data" in arguments else ["--data", str(mnist_folder)]
    assert cli.main(["fit-prior", *arguments, *data]) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.startswith("vae-train: ")
    assert captured.err.count("\n") == 1


def test_a_run_directory_of_a_plain_name_is_a_run(make_run, mnist_folder, tmp_path, monkeypatch, capsys):
    make_run()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit-prior", "run", "--data", str(mnist_folder), "--no-labels"]) == 0
    assert "wrote run/prior.npz" in capsys.readouterr().out


def test_what_a_run_holds_is_what_the_store_verifies(make_run, mnist_folder, store, export):
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder)
    manifest = store.open(export(run_dir)).manifest
    PriorMixtures.from_bytes((run_dir / "prior.npz").read_bytes(), manifest)


def test_the_card_of_an_autoencoder_s_next_version_no_longer_says_that_it_cannot_be_sampled(
    make_run, export, store, mnist_folder
):
    export(make_run(model={"kind": "ae"}))
    assert "sampling is refused" in store.open("digits@1").card
    fit_prior_of_version("digits", PriorRequest(data_dir=mnist_folder, with_labels=False), store=store)
    card = store.open("digits@2").card
    assert "sampling is refused" not in card
    assert "`z` is drawn from the fitted prior below" in card


def test_no_cell_of_the_card_s_tables_is_broken_by_what_it_holds(make_run, export, store, mnist_folder):
    run_dir = make_run()
    fit_prior(run_dir, mnist_folder)
    card = store.open(export(run_dir)).card
    section = card[card.index("## Fitted prior") : card.index("## Training")]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3, 5}


@pytest.fixture(scope="module")
def judge_dir(all_digits, tmp_path_factory):
    """One that has seen all digits once."""
    folder = tmp_path_factory.mktemp("judge")
    save_judge(folder, fit_judge(all_digits, epochs=1))
    return folder


def test_a_judge_narrows_the_priors_of_labels_of_a_run_and_of_a_version_alike(
    make_run, export, store, mnist_folder, judge_dir, monkeypatch, capsys
):
    """An untrained decoder draws nothing that can be read, so that every factor is tried."""
    monkeypatch.setattr("training.priors.label_calibration.DRAWS", 40)
    run_dir = make_run()
    plain = fit_prior_of_run(run_dir, PriorRequest(data_dir=mnist_folder))
    assert fit_prior(run_dir, mnist_folder, "--judge", str(judge_dir)) == 0
    said = capsys.readouterr().out
    assert said.count("% read as asked") == 10
    assert "asked_label_share" in said
    narrow = store.open(export(run_dir))
    fitted = narrow.manifest.fitted_prior
    assert fitted is not None
    assert "a classifier with " in fitted.protocol
    assert narrow.prior is not None
    np.testing.assert_array_equal(narrow.prior.means, plain.mixtures.means)
    of_version = ["fit-prior", "digits@1", "--data", str(mnist_folder), "--store", str(store.root)]
    assert cli.main([*of_version, "--judge", str(judge_dir)]) == 0
    again = store.open("digits@2").manifest.fitted_prior
    assert again is not None
    assert again.protocol == fitted.protocol
    shares = [each.metrics[-1] for each in (fitted, again)]
    assert {metric.name for metric in shares} == {"asked_label_share"}
    # torch and onnxruntime differ in the last bits, so a draw or two may be read otherwise.
    assert shares[0].value == pytest.approx(shares[1].value, abs=0.01)


@pytest.mark.parametrize(
    ("more", "code", "reason"),
    [
        (("--no-labels",), 2, "--judge: expected images with labels and no --no-labels"),
        (
            (),
            65,
            "judge: expected one for images of shape (1, 28, 28), as the model requires, got one for "
            "(1, 8, 8)",
        ),
        (
            (),
            65,
            "--judge: expected one that was fitted to idx train, because their labels are needed, got one "
            "for other images",
        ),
        (
            (),
            65,
            "--judge: expected one that was fitted to the labels of idx train, got one of other",
        ),
        (
            (),
            65,
            "--judge: expected one that was fitted to the labels of idx train, got one of an earlier release",
        ),
    ],
)
def test_a_judge_that_cannot_read_what_is_drawn_is_refused_before_anything_is_fitted(
    make_run, mnist_folder, judge_dir, all_digits, tmp_path, capsys, more, code, reason
):
    judge = judge_dir
    if code == 65:
        judge = tmp_path / "other"
        judge.mkdir()
        shape = (1, 8, 8) if "(1, 8, 8)" in reason else (1, 28, 28)
        same_images = "other images" not in reason
        facts = JudgeFacts(
            shape,
            10,
            accuracy=0.5,
            protocol="none",
            trained_on=all_digits.train.fingerprint if same_images else "0" * 64,
            trained_on_labels="" if "earlier" in reason else labels_fingerprint(9 - all_digits.train.labels),
        )
        save_judge(judge, Judge(JudgeNetwork(shape, 10), facts))
    run_dir = make_run()
    assert fit_prior(run_dir, mnist_folder, "--judge", str(judge), *more) == code
    output = capsys.readouterr()
    assert reason in output.err
    assert "label 0" not in output.out
    assert not (run_dir / "prior.npz").exists()
