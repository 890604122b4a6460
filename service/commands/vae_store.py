"""The command `vae-store`: handlers for signals first, then the command line with all that the service adds.

Knows the order of the start, and that `model_store` must know neither object storage nor onnxruntime. Knows
nothing of the commands. `python -m model_store` is the same without object storage and without `import`.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    try:
        from model_store import interrupts  # noqa: PLC0415  # within the try

        interrupts.end_at_once("vae-store")
        from model_store import cli  # noqa: PLC0415  # handlers first
        from service.commands import object_storage  # noqa: PLC0415  # as above
        from service.commands.importing.command import add_import  # noqa: PLC0415  # as above
    except KeyboardInterrupt:
        sys.stderr.write("vae-store: stopped\n")
        return 130
    return interrupts.run("vae-store", lambda: cli.main(fetch=object_storage.fetched, extend=add_import))


if __name__ == "__main__":
    sys.exit(main())
