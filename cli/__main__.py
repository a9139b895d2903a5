"""`python -m fedprune_cli` is `fedprune`."""

from fedprune_cli.main import main

main()
