"""`vae-train import`: publish a model of another library."""

from __future__ import annotations

import argparse
import json

from model_store.import_options import options_of
from training.commands.progress import say, warn
from training.publishing.import_model import import_model


def run(arguments: argparse.Namespace) -> int:
    """Export, compare, and print what `vae-store import` found; the exit code is its own."""
    done = import_model(
        arguments.library,
        arguments.folder,
        options_of(arguments),
        store=arguments.store,
        allow_pickle=arguments.allow_pickle,
        # With --json, standard output is one document.
        tell=warn if arguments.json else say,
    )
    for remark in done.remarks:
        warn(remark)
    if done.exit_code:
        warn(json.dumps(done.document) if arguments.json else f"vae-train: {done.document['message']}")
    else:
        say(json.dumps(done.document, indent=2) if arguments.json else done.text)
    return done.exit_code
