"""`python -m ayni` is the `ayni` command."""

from ayni.cli import main

main()
