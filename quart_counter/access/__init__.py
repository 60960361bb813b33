"""Who may come in, to which counters, how often, and how many counters there may be; `guard` asks it all."""
