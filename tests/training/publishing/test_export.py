"""A checked run becomes a version; a run that fails any check becomes nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from bundled_models import BUNDLED_MODELS
from finished_runs import export_once, make_finished_run
from onnx import numpy_helper

from model_store import BUNDLED_STORE, ModelStore, open_store
from model_store.errors import StoreError
from training.cli import main
from training.data import load_mnist, to_unit_interval
from training.errors import ConfigError, ExportError, RunDirectoryError
from training.evaluation.figures import weights_sha256
from training.graphs.export import Graphs
from training.graphs.parity import OnnxPair
from training.publishing import export as export_module
from training.publishing.export import export_run, make_probes, serve_command
from training.runs.run_directory import RunDirectory, load_run, save_model


@pytest.fixture(autouse=True)
def export_each_model_once(monkeypatch):
    """The exporter itself is tested in `test_onnx_graphs`, and whole in `tests/contract`."""
    monkeypatch.setattr(export_module, "export_graphs", export_once)


@pytest.fixture
def make_run(tmp_path, tiny, digits):
    """A run directory with these settings."""
    return lambda **sections: make_finished_run(tmp_path / "run", tiny(**sections), digits)


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.fixture
def said():
    return []


@pytest.fixture
def export(store, said, mnist_folder, tmp_path):
    """`export_run` with the usual arguments; the cache is an empty one."""

    def run(run_dir, **options):
        options = {"name": "digits", "data_dir": mnist_folder, "allow_collapsed": True, **options}
        return export_run(run_dir, store=store, cache_dir=tmp_path / "cache", tell=said.append, **options)

    return run


def nothing_was_published(store):
    return store.names() == () and not list(store.root.glob("**/*.onnx"))


def test_exported_run_is_published_verified_and_aliased(make_run, export, store, said):
    run_dir = make_run()
    version = export(run_dir, aliases=["stable"])
    assert str(version) == "digits@1"
    assert store.aliases("digits") == {"latest": 1, "stable": 1}
    published = store.open("digits")
    assert published.manifest.kind == "vae"
    assert (published.manifest.image.shape, published.manifest.latent_size) == ((1, 28, 28), 4)
    assert [prior.name for prior in published.manifest.priors] == ["standard"]
    assert said[-2] == f"published digits@1 in {store.root} (latest, stable)"
    assert said[0] == f"exporting {run_dir}"
    command = f"vae-serve run --store {store.root} --default-model digits@1"
    warning, look = said[-1].splitlines()
    assert warning.startswith("warning: not worth serving: the latents carry no information")
    assert look == f"look at it: {command}"


def test_sound_version_ends_with_the_command_that_serves_it(make_run, export, store, said, monkeypatch):
    monkeypatch.setattr(export_module, "reason_against_publishing", lambda *_, **__: "")
    export(make_run())
    assert said[-1] == f"serve it: vae-serve run --store {store.root} --default-model digits@1"


def test_export_without_a_store_makes_one_s_own_and_leaves_the_package_alone(
    make_run, mnist_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    own = tmp_path / "data" / "vae-service" / "models"
    before = sorted(BUNDLED_STORE.rglob("*"))
    command = ["export", str(make_run()), "--name", "digits", "--data", str(mnist_folder)]
    assert main([*command, "--allow-collapsed"]) == 0
    told = capsys.readouterr()
    assert told.err == (
        f"copied the bundled models to {own}; all commands and the server use that store now\n"
    )
    assert f"published digits@1 in {own} (latest)" in told.out
    assert open_store().names() == tuple(sorted(("digits", *BUNDLED_MODELS)))
    assert sorted(BUNDLED_STORE.rglob("*")) == before
    assert main(["evaluate", "digits@9", "--data", str(mnist_folder)]) == 1
    assert "no version 9" in capsys.readouterr().err, "every command reads that store"


def test_published_graphs_answer_as_the_run_s_model(make_run, export, store, digits):
    run_dir = make_run()
    export(run_dir)
    published = store.open("digits@1")
    model = load_run(run_dir).model
    runtime = OnnxPair(Graphs(encoder=published.encoder, decoder=published.decoder))
    x = to_unit_interval(digits.test.images[:5])
    with torch.inference_mode():
        posterior = model.encode(x)
    mu, logvar = runtime.encode(x.numpy())
    np.testing.assert_allclose(mu, posterior.mu.numpy(), atol=1e-5)
    np.testing.assert_allclose(logvar, posterior.logvar.numpy(), atol=1e-5)
    with torch.inference_mode():
        x_hat = model.decode(posterior.mu)
    np.testing.assert_allclose(runtime.decode(posterior.mu.numpy()), x_hat.numpy(), atol=1e-5)


def test_manifest_says_where_the_weights_came_from(make_run, export, store, digits):
    run_dir = make_run()
    export(run_dir)
    provenance = store.open("digits").manifest.provenance
    assert provenance.data_fingerprint == digits.train.fingerprint
    assert provenance.recipe == json.loads((run_dir / "config.json").read_text())
    assert {"torch", "lightning", "numpy", "onnx", "onnxscript", "onnxruntime"} <= set(provenance.libraries)
    assert (provenance.epochs, provenance.seed) == (2, 0)
    assert provenance.created_at.utcoffset() is not None


def test_manifest_metrics_are_those_of_the_evaluation(make_run, export, store):
    run_dir = make_run()
    export(run_dir)
    stored = json.loads((run_dir / "evaluation.json").read_text())["metrics"]
    assert [metric.model_dump() for metric in store.open("digits").manifest.metrics] == stored


def test_second_export_takes_the_next_number_with_the_same_graphs(make_run, export, store):
    run_dir = make_run()
    assert [str(export(run_dir)) for _ in range(2)] == ["digits@1", "digits@2"]
    assert store.open("digits@1").encoder == store.open("digits@2").encoder
    assert store.open("digits@1").golden.to_bytes() == store.open("digits@2").golden.to_bytes()


def test_autoencoder_is_published_without_a_prior(make_run, export, store):
    export(make_run(model={"kind": "ae"}))
    published = store.open("digits")
    assert (published.manifest.kind, published.manifest.priors) == ("ae", ())
    assert len(np.unique(published.golden.logvar)) == 1


def test_gaussian_sigma_reaches_the_manifest(make_run, export, store):
    export(
        make_run(
            data={"binarisation": "grey"},
            model={"likelihood": {"name": "gaussian", "sigma": 0.25, "learned": True}},
        )
    )
    likelihood = store.open("digits").manifest.likelihood
    assert (likelihood.name, likelihood.learned) == ("gaussian", True)
    assert likelihood.sigma == pytest.approx(0.25)


def test_golden_images_are_real_ones_where_there_are_some(make_run, export, store, mnist_folder):
    export(make_run())
    test = load_mnist(mnist_folder).test
    known = {image.tobytes() for image in to_unit_interval(test.images[:]).numpy()}
    assert all(image.tobytes() in known for image in store.open("digits").golden.x)
    assert "for images of the test set" in store.open("digits").card


def test_without_data_the_model_draws_the_images_itself(make_run, export, store, monkeypatch):
    """Exporting must not download 10 MB behind anyone's back."""
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    export(make_run(), data_dir=None)
    golden = store.open("digits").golden
    assert golden.x.min() >= 0.0
    assert golden.x.max() <= 1.0
    assert "images that the model drew itself" in store.open("digits").card


@pytest.mark.parametrize(("name", "origin"), [("mnist", "images of the test set"), ("idx", "drew itself")])
def test_digits_in_the_cache_stand_for_the_test_set_of_a_run_on_mnist_alone(  # noqa: PLR0917
    name, origin, make_run, export, store, digits, mnist_folder, monkeypatch
):
    """Any other 28 × 28 model would be compared on digits, which its card would call its test set."""
    run_dir = make_run()
    provenance = RunDirectory(run_dir).provenance
    provenance.write_text(provenance.read_text().replace(f'"{digits.name}:', f'"{name}:'))
    monkeypatch.setattr(export_module, "cached_mnist", lambda cache_dir: mnist_folder)
    export(run_dir, data_dir=None)
    assert origin in store.open("digits").card


def test_probes_hold_prior_draws_posterior_means_black_and_white(make_run, digits):
    model = load_run(make_run()).model
    probes = make_probes(model, to_unit_interval(digits.test.images))
    assert probes.x[-2].max() == 0.0
    assert probes.x[-1].min() == 1.0
    with torch.inference_mode():
        means = model.encode(probes.x).mu
    torch.testing.assert_close(probes.z[1::2], means[1::2])
    assert probes.z[0::2].std().item() == pytest.approx(1.0, abs=0.15)


def shifted(model):
    """An exporter that loses a little on the way."""
    graphs = export_once(model)
    decoder = onnx.load_from_string(graphs.decoder)
    weight = decoder.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.01), weight.name))
    return replace(graphs, decoder=decoder.SerializeToString())


def halves_swapped(model):
    graphs = export_once(model)
    return replace(graphs, encoder=graphs.decoder, decoder=graphs.encoder)


def truncated(model):
    graphs = export_once(model)
    return replace(graphs, encoder=graphs.encoder[:-100])


@pytest.mark.parametrize("sabotage", [shifted, halves_swapped, truncated])
def test_failed_check_publishes_nothing(make_run, export, store, monkeypatch, sabotage):
    run_dir = make_run()
    monkeypatch.setattr(export_module, "export_graphs", sabotage)
    with pytest.raises(ExportError, match=r"parity: x_hat|fails on a batch|rejects the exported file"):
        export(run_dir)
    assert nothing_was_published(store)


def test_earlier_version_stays_when_a_later_export_fails(make_run, export, store, monkeypatch):
    run_dir = make_run()
    export(run_dir, aliases=["stable"])
    monkeypatch.setattr(export_module, "export_graphs", shifted)
    with pytest.raises(ExportError, match="Nothing was published"):
        export(run_dir, aliases=["stable"])
    assert (store.versions("digits"), dict(store.aliases("digits"))) == ((1,), {"latest": 1, "stable": 1})


def test_run_without_figures_is_refused_with_the_command_that_makes_them(make_run, export, store):
    run_dir = make_run()
    (run_dir / "evaluation.json").unlink()
    with pytest.raises(ExportError, match=f"found none. Run `vae-train evaluate {run_dir} --data DIR` first"):
        export(run_dir)
    assert nothing_was_published(store)


def test_figures_of_other_weights_are_refused(make_run, export, store, digits):
    """A resumed run whose old evaluation still lies there must not publish it."""
    run_dir = make_run()
    model = load_run(run_dir).model
    with torch.no_grad():
        next(model.parameters()).add_(1e-4)
    save_model(RunDirectory(run_dir), model, epochs=3)
    with pytest.raises(
        ExportError, match=r"expected the figures of the weights in model\.pt, got those of others"
    ):
        export(run_dir)
    assert nothing_was_published(store)


def test_weights_that_are_not_finite_are_never_published(make_run, export, store):
    run_dir = make_run()
    directory = RunDirectory(run_dir)
    evaluation = json.loads(directory.evaluation.read_text())
    model = load_run(run_dir).model
    with torch.no_grad():
        next(model.decoder.parameters())[0, 0] = math.nan
    save_model(directory, model, epochs=2)
    evaluation["weights_sha256"] = weights_sha256(model)
    directory.evaluation.write_text(json.dumps(evaluation))
    with pytest.raises(ExportError, match=r"parity: x_hat on a batch of 1: .* got nan"):
        export(run_dir)
    assert nothing_was_published(store)


@pytest.mark.parametrize("name", ["", "MNIST", "a/b", "../x", "a@1", "x" * 65, "-x"])
def test_malformed_name_is_refused_before_the_run_is_read(tmp_path, export, name):
    with pytest.raises(ConfigError, match="--name: expected"):
        export(tmp_path / "absent", name=name)


@pytest.mark.parametrize("alias", ["", "3", "Stable", "a b"])
def test_malformed_alias_is_refused_before_the_run_is_read(tmp_path, export, alias):
    with pytest.raises(ConfigError, match="--alias: expected"):
        export(tmp_path / "absent", aliases=[alias])


def test_store_that_cannot_be_written_is_told_as_the_store_s_error(make_run, export, store):
    store.root.parent.mkdir(exist_ok=True)
    store.root.write_text("a file where the store should be")
    with pytest.raises(StoreError):
        export(make_run())


def test_data_of_another_shape_is_refused(make_run, export, tmp_path, mnist_folder):
    from training.data.idx import read_idx, write_idx

    for path in mnist_folder.iterdir():
        array = read_idx(path).array
        write_idx(tmp_path / path.name, array[:, ::2, ::2] if array.ndim == 3 else array)
    with pytest.raises(ConfigError, match=r"expected images of shape \(1, 28, 28\), .* got \(1, 14, 14\)"):
        export(make_run(), data_dir=tmp_path)


def test_exporting_what_is_no_run_is_told(tmp_path, export):
    with pytest.raises(RunDirectoryError, match="expected a run directory"):
        export(tmp_path / "absent")


def test_serve_command_survives_odd_directories(tmp_path):
    store = ModelStore(tmp_path / "my models")
    from model_store import VersionId

    assert serve_command(VersionId("digits", 3), store) == (
        f"vae-serve run --store '{tmp_path}/my models' --default-model digits@3"
    )
