"""`python -m dfkd_tune`: the command line."""

from dfkd_tune.cli import main

main()
