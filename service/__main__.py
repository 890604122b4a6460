"""`vae-serve` and `python -m service`: handlers for signals first, then the command line.

Knows which command serves, and whether a supervisor started the process. Knows nothing of the commands.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    serves = sys.argv[1:2] == ["run"]
    try:
        from model_store import interrupts  # noqa: PLC0415  # within the try
        from service.process import early  # noqa: PLC0415  # as above

        if serves:
            early.prepare()
        else:
            interrupts.end_at_once("vae-serve")
        from service.process import worker  # noqa: PLC0415  # handlers first

        place = worker.inherited_place() if serves else None
        from service import cli  # noqa: PLC0415  # takes a second, during which signals come
    except KeyboardInterrupt:
        sys.stderr.write("vae-serve: stopped\n")
        return 130
    try:
        return interrupts.run("vae-serve", lambda: cli.main(sys.argv[1:], place=place))
    finally:
        if serves:
            early.ignore_hangups()


if __name__ == "__main__":
    sys.exit(main())
