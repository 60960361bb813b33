"""Counters in and out: `quart-counter export` and `import`. A line of JSON a counter, in bounded memory, any store."""
