"""`vae-train add-preview`: publish a published model again, with a preview of some of its images."""

from __future__ import annotations

import argparse

from model_store import open_store
from training.commands.progress import say, warn
from training.publishing.export import check_aliases, how_to_serve
from training.publishing.preview import add_preview


def run(arguments: argparse.Namespace) -> int:
    """Publish, and print the next command."""
    aliases = [arguments.alias] if arguments.alias is not None else []
    check_aliases(aliases)
    store = open_store(arguments.store, tell=warn)
    version = add_preview(arguments.version, store=store, data_dir=arguments.data, aliases=aliases, tell=say)
    preview = store.manifest(version).preview
    assert preview is not None
    say(f"preview: {preview.protocol}")
    moved = ", ".join(sorted({*aliases, "latest"}))
    say(f"published {version} in {store.root} ({moved})")
    say(how_to_serve(version, store))
    return 0
