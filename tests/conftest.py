"""What holds for every test: shapes written in signatures are checked, figures go into the hazard table.

The hook must be in place before anything of `training` is imported, so it lies at the root; so does the
table, because its rows are measured in every folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile

import hypothesis
import jaxtyping
import pytest

pytest_plugins = ("hazard_plugin", "leftovers_plugin", "order_plugin", "recorded.plugin", "stall_plugin")

# A slow machine is not a fault: no example is timed, and none that takes long to make fails its test.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

#: Modules whose signatures state shapes; `tests/training/test_shapes_are_checked.py` holds it complete.
SHAPED = (
    "training.data.augmentation",
    "training.data.binarisation",
    "training.data.images",
    "training.data.memory_map",
    "training.evaluation.evaluation_context",
    "training.evaluation.figures",
    "training.evaluation.measures",
    "training.evaluation.report",
    "training.fitting.batches",
    "training.fitting.ema",
    "training.fitting.label_check",
    "training.fitting.lightning_module",
    "training.fitting.optimisers",
    "training.fitting.snapshots",
    "training.graphs.export",
    "training.graphs.foreign",
    "training.graphs.parity",
    "training.graphs.prior_export",
    "training.graphs.prior_parity",
    "training.graphs.published_model",
    "training.graphs.published_prior",
    "training.judge.classifier",
    "training.judge.fitting",
    "training.models",
    "training.objectives.elbo",
    "training.objectives.estimators",
    "training.plots.charts",
    "training.plots.grids",
    "training.priors.selection",
    "training.publishing.export",
    "training.publishing.foreign.diffusers_vae",
    "training.publishing.foreign.pythae_model",
)

jaxtyping.install_import_hook(list(SHAPED), "beartype.beartype")

_DATA_HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """No test reads or changes the model store of the person who runs the tests."""
    # A shell starts a job in the background with SIGINT ignored, and every child inherits that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_DATA_HOME] = tempfile.mkdtemp(prefix="vae-tests-data-")
    os.environ["XDG_DATA_HOME"] = config.stash[_DATA_HOME]
    os.environ.pop("VAE_MODEL_STORE", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_DATA_HOME], ignore_errors=True)
