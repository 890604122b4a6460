"""`vae-serve` and `python -m service`: handlers for signals first, then the command line.

Knows which command serves. Knows nothing of what it does.
"""

from __future__ import annotations

import sys

from service.process import early


def main() -> int:
    """Runs the command that `sys.argv` names and returns its exit code."""
    serves = sys.argv[1:2] == ["run"]
    if serves:
        early.prepare()
    from service import cli  # noqa: PLC0415  (takes a second, during which signals come)

    try:
        return cli.main(sys.argv[1:])
    finally:
        if serves:
            early.ignore_hangups()


if __name__ == "__main__":
    sys.exit(main())
