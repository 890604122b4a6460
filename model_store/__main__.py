"""`python -m model_store`: handlers for signals first, then the command line.

Knows the order of the start. Knows nothing of the commands. The script `vae-store` is
`service.commands.vae_store`, which adds object storage as a source.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    try:
        from model_store import interrupts  # noqa: PLC0415  # within the try

        interrupts.end_at_once("vae-store")
        from model_store import cli  # noqa: PLC0415  # handlers first
    except KeyboardInterrupt:
        sys.stderr.write("vae-store: stopped\n")
        return 130
    return interrupts.run("vae-store", cli.main)


if __name__ == "__main__":
    sys.exit(main())
