"""Says what to do where Python is too old for Isthmus. Runs under any Python 3, so it uses nothing newer."""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "Isthmus needs Python 3.11 or newer; {} is {}.{}.{}. Give a newer one: make PYTHON=python3.12 ...".format(
            sys.executable, *sys.version_info[:3]
        )
    )
