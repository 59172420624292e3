"""Numbers as the counting explorers say them. `static/number_words.js` does the same; tests compare."""

from math import floor

UNITS = {"trillion": 10**12, "billion": 10**9, "million": 10**6, "thousand": 10**3}
BYTE_UNITS = {"TB": 10**12, "GB": 10**9, "MB": 10**6, "KB": 10**3}


def plural(count: int, one: str) -> str:
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def brief(value: float) -> str:
    """Return three digits or so, rounded half up: the browser does the same arithmetic."""
    places = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{floor(value * 10**places + 0.5) / 10**places:,.{places}f}"


def short(count: int) -> str:
    """Return a count in words, three digits or so.

    >>> short(33554432)
    '33.6\\xa0million'
    """
    unit = next((unit for unit, least in UNITS.items() if count >= least), None)
    return f"{brief(count / UNITS[unit])}\u00a0{unit}" if unit else str(count)


def size(count: int) -> str:
    """Return bytes in decimal units: 1 GB is 10⁹ bytes.

    >>> size(120832)
    '121\\xa0KB'
    """
    unit = next(unit for unit, least in BYTE_UNITS.items() if count >= least)
    return f"{brief(count / BYTE_UNITS[unit])}\u00a0{unit}"
