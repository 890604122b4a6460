"""`make docs`: writes the generated tables, and mends links to code that moved."""

from __future__ import annotations

import sys

from documents import code_links
from documents.markdown import name_of, pages
from documents.reference import written


def main() -> int:
    """Rewrites the pages that differ, names them, and names what it could not mend."""
    unmended = 0
    for page in pages():
        before = page.read_text()
        after = code_links.mended(page, written(name_of(page), before))
        if after != before:
            page.write_text(after)
            sys.stdout.write(f"docs: wrote {name_of(page)}\n")
        for line in code_links.wrong(page, after):
            unmended += 1
            sys.stderr.write(f"docs: {name_of(page)}: {line}\n")
    return 1 if unmended else 0


if __name__ == "__main__":
    sys.exit(main())
