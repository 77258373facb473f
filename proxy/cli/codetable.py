"""Prints docs/codes.md: `python -m proxy.cli.codetable > docs/codes.md`."""

import sys

from proxy.core.codetable import page

if __name__ == "__main__":
    sys.stdout.write(page())
