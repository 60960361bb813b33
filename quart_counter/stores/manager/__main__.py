"""The manager's own process: `python -m quart_counter.stores.manager`, as `process.started` says it."""

from quart_counter.stores.manager.process import main

main()
