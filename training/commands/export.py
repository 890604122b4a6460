"""`vae-train export`: publish a run's model in the model store."""

from __future__ import annotations

import argparse

from model_store import open_store
from training.commands.progress import say, warn
from training.publishing.export import export_run


def run(arguments: argparse.Namespace) -> int:
    """Export, check and publish, and print the command that serves the version."""
    export_run(
        arguments.run,
        name=arguments.name,
        aliases=[arguments.alias] if arguments.alias is not None else [],
        data_dir=arguments.data,
        allow_collapsed=arguments.allow_collapsed,
        with_preview=arguments.preview,
        store=open_store(arguments.store, tell=warn),
        tell=say,
    )
    return 0
