"""The `fedprune` command: parse, call one function of the library, render."""
