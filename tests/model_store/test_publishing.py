"""Publishing: what is published, what may not be, and that either leaves the store whole."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from store_checks import leftovers, sound
from tiny_models import CARD, TinyModel, publish_tiny

from model_store import (
    CorruptAliases,
    InvalidDraft,
    Manifest,
    ManifestDraft,
    ModelStore,
    SizeLimits,
    UnsafeFile,
    VersionId,
)


def test_numbers_ascend_and_aliases_move(store: ModelStore, tiny: TinyModel) -> None:
    assert publish_tiny(store, model=tiny, aliases=("stable", "beta")) == VersionId("tiny", 1)
    assert publish_tiny(store, model=tiny, aliases=("beta", "latest")) == VersionId("tiny", 2)
    assert publish_tiny(store, model=tiny, name="other") == VersionId("other", 1)
    assert store.aliases("tiny") == {"beta": 2, "latest": 2, "stable": 1}
    assert store.aliases("other") == {"latest": 1}
    recorded = json.loads((store.root / "tiny" / "aliases.json").read_bytes())
    assert recorded["aliases"]["latest"] == {"version": 2, "history": []}
    assert recorded["aliases"]["beta"] == {"version": 2, "history": [1]}
    assert sound(store)


def test_a_version_is_the_five_files_and_nothing_else(store: ModelStore, version_path: Path) -> None:
    files = ["MODEL_CARD.md", "decoder.onnx", "encoder.onnx", "golden.npz", "manifest.json"]
    assert sorted(path.name for path in version_path.iterdir()) == files
    assert sorted(path.name for path in store.root.iterdir()) == [
        ".history.jsonl",
        ".lock",
        ".publishers",
        "tiny",
    ]
    assert sorted(path.name for path in (store.root / "tiny").iterdir()) == ["1", "aliases.json"]
    assert leftovers(store) == []


def test_a_version_can_be_read_by_another_user(version_path: Path) -> None:
    """The server runs under a user of its own."""
    old = os.umask(0o022)
    os.umask(old)
    for path in (version_path, *version_path.iterdir()):
        wanted = (0o755 if path.is_dir() else 0o644) & ~old
        assert path.stat().st_mode & 0o777 == wanted


def test_the_same_publication_twice_differs_only_in_its_number(store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    publish_tiny(store, model=tiny)
    first, second = store.root / "tiny" / "1", store.root / "tiny" / "2"
    for name in ("encoder.onnx", "decoder.onnx", "golden.npz", "MODEL_CARD.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_card_can_be_written_once_the_number_is_known(store: ModelStore, tiny: TinyModel) -> None:
    publish_tiny(store, model=tiny)
    seen: list[Manifest] = []

    def card(manifest: Manifest) -> str:
        seen.append(manifest)
        digest = manifest.files["encoder.onnx"].sha256
        return f"# {manifest.name}@{manifest.version}, {digest}, σ\n"

    identity = store.publish(
        tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
    )
    model = store.open(identity)
    assert model.card == f"# tiny@2, {model.manifest.files['encoder.onnx'].sha256}, σ\n"
    assert len(seen) == 1
    assert seen[0].files["MODEL_CARD.md"].sha256 == "0" * 64


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_card_that_raises_publishes_nothing(
    store: ModelStore, published: VersionId, tiny: TinyModel, error: BaseException
) -> None:
    def card(_: Manifest) -> str:
        raise error

    with pytest.raises(type(error)):
        store.publish(
            tiny.draft(), encoder=tiny.encoder, decoder=tiny.decoder, golden=tiny.golden(), card=card
        )
    assert store.versions("tiny") == (1,)
    assert leftovers(store) == []
    assert publish_tiny(store, model=tiny).version == 2


# --- what may not be published --------------------------------------------------------------------------


def _nan_recipe(tiny: TinyModel) -> ManifestDraft:
    draft = tiny.draft()
    return draft.model_copy(
        update={"provenance": draft.provenance.model_copy(update={"recipe": {"lr": float("nan")}})}
    )


def _random_graph(tiny: TinyModel) -> bytes:
    proto = tiny.decoder_proto()
    proto.graph.node.append(helper.make_node("RandomNormal", [], ["r"], shape=[1]))
    return proto.SerializeToString()


INVALID: dict[str, tuple[Callable[[TinyModel], dict[str, Any]], str]] = {
    "a name made without validation": (
        lambda tiny: {"draft": tiny.draft().model_copy(update={"name": "../escape"})},
        "valid ManifestDraft, got: 'name': String should match pattern [^\n]*$",
    ),
    "no draft at all": (lambda tiny: {"draft": None}, "valid ManifestDraft"),
    "NaN in the recipe": (_nan_recipe and (lambda tiny: {"draft": _nan_recipe(tiny)}), "NaN or infinity"),
    "an alias with a slash": (lambda tiny: {"aliases": ["../x"]}, "is no alias"),
    "an alias that is a number": (lambda tiny: {"aliases": ["3"]}, "is no alias"),
    "an empty encoder": (lambda tiny: {"encoder": b""}, r"encoder\.onnx: expected 1 to"),
    "an encoder that is text": (lambda tiny: {"encoder": "x"}, r"encoder\.onnx: expected bytes, got str"),
    "exchanged graphs": (
        lambda tiny: {"encoder": tiny.decoder, "decoder": tiny.encoder},
        r"encoder\.onnx: expected the graph inputs",
    ),
    "a random decoder": (
        lambda tiny: {"decoder": _random_graph(tiny)},
        r"decoder\.onnx: expected no randomness",
    ),
    "golden vectors of another model": (
        lambda tiny: {"golden": TinyModel.make(image_shape=(1, 5, 5), latent_size=2).golden()},
        "array 'x': expected shape",
    ),
    "golden vectors with NaN": (
        lambda tiny: {"golden": dataclasses.replace(tiny.golden(), mu=np.full((3, 2), np.nan, np.float32))},
        "array 'mu': expected finite",
    ),
    "an empty card": (lambda tiny: {"card": ""}, r"MODEL_CARD\.md: expected 1 to"),
    "a card of bytes": (lambda tiny: {"card": lambda manifest: b"x"}, r"MODEL_CARD\.md: expected text"),
    "a card with a lone surrogate": (lambda tiny: {"card": "\ud800"}, "lone surrogate"),
    "a card above the ceiling": (lambda tiny: {"card": "x" * 1_100_000}, r"MODEL_CARD\.md: expected 1 to"),
    "a recipe that imitates the digest": (
        lambda tiny: {
            "draft": tiny.draft(
                provenance=tiny.draft().provenance.model_copy(
                    update={"recipe": {"manifest_sha256": "a" * 64}}
                )
            )
        },
        "Rename that key",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_draft_that_may_not_be_published_leaves_no_trace(
    store: ModelStore, published: VersionId, tiny: TinyModel, case: str
) -> None:
    change, reason = INVALID[case]
    parts: dict[str, Any] = {
        "draft": tiny.draft(),
        "encoder": tiny.encoder,
        "decoder": tiny.decoder,
        "golden": tiny.golden(),
        "card": CARD,
    } | change(tiny)
    before = sorted(store.root.rglob("*"))
    with pytest.raises(InvalidDraft, match=reason) as caught:
        store.publish(parts.pop("draft"), **parts)
    assert "draft of" in str(caught.value) or "MODEL_CARD.md" in str(caught.value)
    assert sorted(store.root.rglob("*")) == before


def test_an_invalid_first_draft_does_not_even_make_the_store(store: ModelStore, tiny: TinyModel) -> None:
    with pytest.raises(InvalidDraft):
        publish_tiny(store, model=tiny, encoder=b"nonsense")
    assert not store.root.exists()


def test_ceilings_hold_for_publishers_too(store: ModelStore, tiny: TinyModel) -> None:
    small = ModelStore(store.root, limits=SizeLimits(graph_bytes=100))
    with pytest.raises(InvalidDraft, match=r"encoder\.onnx: expected 1 to 100 bytes, got \d+"):
        publish_tiny(small, model=tiny)


def test_corrupt_aliases_stop_a_publication_before_it_writes(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    """To overwrite them would lose every alias that somebody set."""
    (store.root / "tiny" / "aliases.json").write_bytes(b"{")
    with pytest.raises(CorruptAliases):
        publish_tiny(store, model=tiny)
    assert store.versions("tiny") == (1,)
    assert leftovers(store) == []


def test_a_model_that_is_a_link_is_not_written_through(
    store: ModelStore, published: VersionId, tiny: TinyModel
) -> None:
    outside = store.root.parent / "outside"
    outside.mkdir()
    (store.root / "linked").symlink_to(outside, target_is_directory=True)
    with pytest.raises(UnsafeFile, match="linked: expected a directory, got a symbolic link"):
        publish_tiny(store, name="linked", model=tiny)
    assert list(outside.iterdir()) == []
