"""From a model of another library to a published version: load, export, compare, and `vae-store import`.

Knows the order of these steps. The checks of the graphs are those of `vae-store import`, which runs as a
process of its own: the trainer and the server share no code but the store's.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import torch

from model_store.import_options import Options
from training.errors import ConfigError
from training.graphs.export import Graphs
from training.graphs.foreign import check_foreign_parity, export_foreign
from training.publishing.export import check_names
from training.publishing.foreign import Loaded, diffusers_vae, pythae_model
from training.publishing.store_command import StoreAnswer, run_store_import
from training.runs.writing import writing

Library = Literal["diffusers", "pythae"]
Tell = Callable[[str], None]
_OPTIMUM: Final = {"encoder": "vae_encoder", "decoder": "vae_decoder"}


def import_model(
    library: Library,
    folder: Path,
    options: Options,
    *,
    store: Path | None = None,
    allow_pickle: bool = False,
    tell: Tell = print,
) -> StoreAnswer:
    """Publish a model of another library as the next version of `options.name`.

    Args:
        library: The one that made it.
        folder: Where it saved it.
        options: As of `vae-store import`.
        store: The store to publish in; None: as `vae-store` finds it.
        allow_pickle: Whether networks of pythae that are kept as pickles may run their code.
        tell: Called with a line for people at each step.

    Returns:
        What `vae-store import` answered, with the comparison as its first check.

    Raises:
        ConfigError: A name is malformed, or an option belongs to the other library.
        MissingLibrary: The library is not installed.
        ForeignModelError: The model cannot be loaded, or is of an unsupported kind.
        ExportError: The exporter fails, or onnxruntime differs from torch; nothing was published.
        WriteFailed: No room for the graphs in the temporary folder.
    """
    check_names(options.name, options.aliases)
    if allow_pickle and library != "pythae":
        raise ConfigError(f"--allow-pickle: expected only with pythae, got it with {library}. Leave it out.")
    loaded = _load(library, folder, allow_pickle=allow_pickle)
    return publish_loaded(loaded, options, store=store, tell=tell)


def publish_loaded(loaded: Loaded, options: Options, *, store: Path | None, tell: Tell) -> StoreAnswer:
    """Publish a loaded model. See `import_model`."""
    tell(f"exporting {loaded.origin}")
    graphs = export_foreign(loaded.pair)
    parity = check_foreign_parity(loaded.pair, graphs)
    tell("exported; trying the graphs as `vae-store import` does")
    options = replace(
        options,
        pixels=options.pixels or loaded.pixels,
        prior=options.prior or loaded.prior,
        origin=f"{loaded.origin}, exported by torch {torch.__version__}",
    )
    with tempfile.TemporaryDirectory(prefix="vae-train-import-") as folder:
        names = _write(Path(folder), graphs, loaded)
        answer = run_store_import(names, options, store=store)
    return answer.with_check("parity", f"torch and onnxruntime differ by at most {parity}")


def _load(library: Library, folder: Path, *, allow_pickle: bool) -> Loaded:
    if library == "diffusers":
        return diffusers_vae.load(folder)
    return pythae_model.load(folder, allow_pickle=allow_pickle)


def _write(folder: Path, graphs: Graphs, loaded: Loaded) -> list[str]:
    """Write the files, and return the arguments that name them."""
    names: list[str] = []
    with writing(folder):
        for role, data in (("encoder", graphs.encoder), ("decoder", graphs.decoder)):
            place = folder / _OPTIMUM[role]
            place.mkdir()
            (place / "model.onnx").write_bytes(data)
            if loaded.is_optimum:
                (place / "config.json").write_text(json.dumps(dict(loaded.settings)))
            names.append(f"--{role}={place / 'model.onnx'}")
    return [str(folder)] if loaded.is_optimum else names
