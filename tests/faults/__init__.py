"""Faults on the wire, made on purpose."""
