"""`python -m mmkit`, and the `mmkit` script."""

import os
import sys


def main() -> None:
    """Set what must be set before torch is imported, then run the command line."""
    # Transparent huge pages: no result changes, convolutions get up to 3x faster on Linux CPUs.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from mmkit.cli.app import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
