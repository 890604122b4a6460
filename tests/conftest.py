"""What holds for every test: the shapes written in signatures are checked while tests run.

The hook must be in place before anything of `training` is imported, so it lies at the root.
"""

from __future__ import annotations

import jaxtyping

#: Modules whose signatures state shapes; `tests/training/test_shapes_are_checked.py` holds it complete.
SHAPED = (
    "training.averaging",
    "training.batches",
    "training.data.binarisation",
    "training.data.images",
    "training.estimators",
    "training.evaluation",
    "training.export",
    "training.models",
    "training.module",
    "training.objectives",
    "training.onnx_graphs",
    "training.parity",
    "training.pictures",
    "training.plots",
)

jaxtyping.install_import_hook(list(SHAPED), "beartype.beartype")
