"""The fault proxy lives in the lab, which races `redis-retry` behind it; tests know it by this name."""

from quart_counter.lab.proxy import Fault, FaultProxy

__all__ = ["Fault", "FaultProxy"]
