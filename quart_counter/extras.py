"""The line that installs an extra: many errors say it, and where the package is had from is known here alone."""


def install(extra: str) -> str:
    """Return the line: the package is on no index, so its folder is named."""
    return f"pip install '.[{extra}]' in the folder of quart_counter"
