"""The names of the files of a version.

Knows names alone. Knows nothing of their content: the manifest lists those of one version.
"""

from __future__ import annotations

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
GOLDEN_FILE = "golden.npz"
PRIOR_FILE = "prior.npz"
PREVIEW_FILE = "preview.npz"
PRIOR_SAMPLER_FILE = "prior_sampler.onnx"
PRIOR_DENSITY_FILE = "prior_density.onnx"
PRIOR_GOLDEN_FILE = "prior_golden.npz"
CARD_FILE = "MODEL_CARD.md"
MANIFEST_FILE = "manifest.json"
#: The files of every version that this package's trainer makes, apart from its manifest.
REQUIRED_FILES = (ENCODER_FILE, DECODER_FILE, GOLDEN_FILE, CARD_FILE)
#: Of an imported version, either graph may be missing.
ALWAYS_REQUIRED_FILES = (GOLDEN_FILE, CARD_FILE)
#: Optional files, which the manifest lists. No other file may be in the directory.
OPTIONAL_FILES = (PRIOR_FILE, PREVIEW_FILE, PRIOR_SAMPLER_FILE, PRIOR_DENSITY_FILE, PRIOR_GOLDEN_FILE)
