"""`vae-serve` and `python -m service`: handlers for signals first, then the command line.

Knows which command serves, and whether a supervisor started the process. Knows nothing of the commands.
"""

from __future__ import annotations

import sys

from service.process import early


def main() -> int:
    """Run the command of `sys.argv` and return its exit code."""
    serves = sys.argv[1:2] == ["run"]
    if serves:
        early.prepare()
    from service.process import worker  # noqa: PLC0415  (handlers first)

    place = worker.inherited_place() if serves else None
    from service import cli  # noqa: PLC0415  (takes a second, during which signals come)

    try:
        return cli.main(sys.argv[1:], place=place)
    finally:
        if serves:
            early.ignore_hangups()


if __name__ == "__main__":
    sys.exit(main())
