"""A command of `vae-store` that needs more than this package, such as a runtime: its caller brings it.

Knows the form of a command. Knows nothing of what one does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from model_store.cli_output import Answer
from model_store.store import ModelStore


@dataclass(frozen=True)
class ExtraCommand:
    """One command, in the words of its help."""

    name: str
    text: str
    """What it does, as a clause without a capital."""
    examples: tuple[str, ...]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[ModelStore, argparse.Namespace], tuple[Answer, int]]
    """Like every command: the answer and the exit code; it raises `StoreError`."""
    makes_store: bool = False
    """Whether it begins a store of the user's own where there is none."""
