"""The lab: shows what happens to a counter when many ask at once, and judges what it saw."""
