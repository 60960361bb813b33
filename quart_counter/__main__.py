"""`python -m quart_counter` is `quart-counter`."""

from quart_counter.cli import main

main(prog_name="quart-counter")
