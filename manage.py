#!/usr/bin/env python3
"""Django's command line, with PostgreSQL and Redis at hand: finds the embedded services or starts them."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the message is for exactly those who run an older Python
    sys.exit(f"Lepton needs Python 3.11 or newer; this is {sys.version.split()[0]}. Install one and run `make run`.")

from lepton_app.commandline import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
