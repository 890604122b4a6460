"""What holds for every test: shapes written in signatures are checked, figures go into the hazard table.

The hook must be in place before anything of `training` is imported, so it lies at the root; so does the
table, because its rows are measured in every folder.
"""

from __future__ import annotations

import hypothesis
import jaxtyping

pytest_plugins = ("hazard_plugin", "leftovers_plugin", "order_plugin", "recorded.plugin")

# A slow machine is not a fault: no example is timed, and none that takes long to make fails its test.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

#: Modules whose signatures state shapes; `tests/training/test_shapes_are_checked.py` holds it complete.
SHAPED = (
    "training.fitting.ema",
    "training.fitting.batches",
    "training.data.augmentation",
    "training.data.binarisation",
    "training.data.images",
    "training.data.memory_map",
    "training.objectives.estimators",
    "training.evaluation.figures",
    "training.publishing.export",
    "training.judge.classifier",
    "training.judge.fitting",
    "training.evaluation.measures",
    "training.models",
    "training.fitting.lightning_module",
    "training.objectives.elbo",
    "training.graphs.export",
    "training.fitting.optimisers",
    "training.graphs.parity",
    "training.fitting.snapshots",
    "training.plots.grids",
    "training.priors.selection",
    "training.graphs.published_model",
    "training.evaluation.report",
)

jaxtyping.install_import_hook(list(SHAPED), "beartype.beartype")
