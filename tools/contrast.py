"""Measure the contrast of the course's colours, as WCAG 2 defines it, in the light and the dark theme.

    python tools/contrast.py        a table of every pair, and an exit status of 1 if one is too weak

The pairs are read from the style sheets, so that a new rule is measured without being listed here: text (4.5:1) on
the ground that its own rule gives it, else on the paper; the ink on every ground; marks, frames and strokes (3:1) on
the paper; the focus ring (3:1) on every ground that is no mark itself. Text that stands on another element's ground is
measured in the browser (tests/browser/seen_text.py).
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from course_lib.classroom.palette import DARK, LIGHT
from course_lib.classroom.widgets import STATIC

TEXT, MARK = 4.5, 3.0
QUIET = {
    "paper",
    "line",
    "hatch",
}  # rules, empty tracks and the hatching of what is closed: nothing is told by them alone
THEMES = {"light": LIGHT, "dark": DARK}
MIX = re.compile(r"color-mix\(in srgb, var\(--c-([\w-]+)\) (\d+)%, (?:var\(--c-([\w-]+)\)|transparent)\)")
NAME = re.compile(r"var\(--c-([\w-]+)\)")


def channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ratio(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast of two colours (channels from 0 to 1), 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def colour_of(name: str, theme: dict[str, str]) -> tuple[float, ...]:
    """Return a role's colour; "hatch 22 paper" is 22 % of the hatch on the paper."""
    first, *rest = name.split()
    if not rest:
        return channels(theme[first])
    share = int(rest[0]) / 100
    pairs = zip(channels(theme[first]), channels(theme[rest[1]]), strict=True)
    return tuple(a * share + b * (1 - share) for a, b in pairs)


def colours_in(value: str) -> set[str]:
    """Return the roles that a declaration names; what is mixed with nothing is mixed with the paper."""
    mixed = {f"{one} {share} {other or 'paper'}" for one, share, other in MIX.findall(value)}
    return mixed | set(NAME.findall(MIX.sub("", value)))


def rules(css: str):
    """Yield (selector, {property: value}) of every rule, those inside of queries too."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    for selector, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        yield selector.strip(), dict(part.split(":", 1) for part in body.split(";") if ":" in part)


def pairs() -> dict[tuple[str, str, float], str]:
    """Return {(what is seen, its ground, how much it needs): where a rule says so}."""
    found, grounds = {}, {"paper": "the paper"}
    for path in sorted(STATIC.glob("*.css")):
        for selector, body in rules(path.read_text("utf-8")):
            where = f"{path.name}: {selector.splitlines()[-1]}"
            body = {name.strip(): value for name, value in body.items()}
            written = re.search(r"\btext\b|-(name|step|end|title|muted|of-)\b", selector)
            ground = colours_in(body.get("background", "") + body.get("background-color", ""))
            text = colours_in(body.get("color", "") + (body.get("fill", "") if written else ""))
            for one in text - {"paper"} if not ground else text:
                for under in ground or {"paper"}:
                    found.setdefault((one, under, TEXT), where)
            if ground and not text:
                grounds |= {under: where for under in ground if under.endswith("-soft") or under.startswith("hatch ")}
            shapes = "" if written else body.get("fill", "")
            for name in ("border", "border-color", "stroke", "background"):
                shapes += " " + body.get(name, "")
            for one in colours_in(shapes):
                if " " not in one and one not in QUIET and not one.endswith("-soft"):
                    found.setdefault((one, "paper", MARK), where)
    for under, where in grounds.items():
        found.setdefault(("ink", under, TEXT), where)
        found.setdefault(("focus", under, MARK), where)
    return found


def measured():
    """Yield (theme, what, ground, ratio, needed, where), the weakest first."""
    table = [
        (theme, one, under, ratio(colour_of(one, colours), colour_of(under, colours)), need, where)
        for theme, colours in THEMES.items()
        for (one, under, need), where in pairs().items()
    ]
    yield from sorted(table, key=lambda row: row[3] / row[4])


def main() -> int:
    weak = 0
    for theme, one, under, found, need, where in measured():
        weak += found < need
        print(f"{'' if found >= need else 'TOO WEAK ':9}{found:5.2f} of {need}  {theme:5}  {one} on {under}  ({where})")
    return min(weak, 1)


if __name__ == "__main__":
    sys.exit(main())
