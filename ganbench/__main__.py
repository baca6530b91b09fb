"""`python -m ganbench` is the command `ganbench`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # `-m` puts the current folder in front of the import path, where a random.py of the user's would take the place of
    # the library's. It stays only where ganbench itself is run from it, as from a checkout.
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]

    from ganbench.cli import main

    main()
