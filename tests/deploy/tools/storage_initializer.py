"""What KServe's storage initializer does before a server starts: the real library copies an address.

python storage_initializer.py s3://bucket/prefix DIRECTORY
"""

from __future__ import annotations

import sys

from kserve_storage import Storage

if __name__ == "__main__":
    Storage.download(sys.argv[1], sys.argv[2])
