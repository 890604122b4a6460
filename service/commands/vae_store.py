"""The command `vae-store`: handlers for signals first, then the command line with all that it does not know.

Knows the order of the start, and that `model_store` must know neither object storage nor a runtime. Knows
nothing of the commands. `python -m model_store` is the same command without these.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    try:
        from model_store import interrupts  # noqa: PLC0415  # within the try

        interrupts.end_at_once("vae-store")
        from model_store import cli  # noqa: PLC0415  # handlers first
        from service.commands import object_storage, runtime_commands  # noqa: PLC0415  # as above
    except KeyboardInterrupt:
        sys.stderr.write("vae-store: stopped\n")
        return 130
    return interrupts.run(
        "vae-store", lambda: cli.main(fetch=object_storage.fetched, more=runtime_commands.COMMANDS)
    )


if __name__ == "__main__":
    sys.exit(main())
