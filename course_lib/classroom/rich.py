"""Rich text of the banks: code spans, emphasis and a little mathematics, as data that can only become text.

The syntax is in `banks`. `parse` is the only reader of it: the browser gets finished pieces, never markup.
"""

import html
import re

_SPAN = re.compile(r"\\([`*\\])|`([^`]+)`|\*(?=[^\s*])([^*`]*[^\s*`])\*")
_LONE = re.compile(r"`|(?<!\s)\*|\*(?!\s|$)")
_ARITY = {"mfrac": (2, 2), "msup": (2, 2), "msub": (2, 2), "mrow": (1, 29), "msqrt": (1, 29)}
_SPACED = "+-=<>\u2212\u00d7\u00b7\u2264\u2265\u2248\u2192"  # minus, times, dot, at most, at least, about, arrow
_LEAVES = ("mi", "mn", "mo", "mtext")


def parse(rich: str | list) -> list[list]:
    """Turn rich text into pieces [kind, value]: text, code and em hold a string, math holds a list of full nodes.

    Raises ValueError for an unpaired mark or a malformed formula.
    """
    pieces: list[list] = []
    for part in [rich] if isinstance(rich, str) else rich:
        pieces += _spans(part) if isinstance(part, str) else [["math", [_node(node) for node in part["math"]]]]
    merged: list[list] = []
    for kind, value in pieces:
        if kind == "text" and merged and merged[-1][0] == "text":
            merged[-1][1] += value
        else:
            merged.append([kind, value])
    return merged


def plain(rich: str | list) -> str:
    """Return rich text as one plain string; a fraction becomes `P / T`, a power `P^2`."""
    return "".join(_linear(["mrow", *value]) if kind == "math" else value for kind, value in parse(rich))


def to_html(rich: str | list) -> str:
    """Return rich text as escaped HTML for readers without a kernel; formulas in one line."""
    tags = {"code": "code", "em": "em", "math": "i"}
    parts = []
    for kind, value in parse(rich):
        text = html.escape(_linear(["mrow", *value]) if kind == "math" else value)
        parts.append(f"<{tags[kind]}>{text}</{tags[kind]}>" if kind in tags else text)
    return "".join(parts)


def _spans(text: str) -> list[list]:
    pieces, end = [], 0
    for match in _SPAN.finditer(text):
        pieces.append(["text", _no_marks(text[end : match.start()], text)])
        escaped, code, emphasis = match.groups()
        pieces.append(["code", code] if code else ["em", emphasis] if emphasis else ["text", escaped])
        end = match.end()
    pieces.append(["text", _no_marks(text[end:], text)])
    return [piece for piece in pieces if piece[1]]


def _no_marks(rest: str, whole: str) -> str:
    if _LONE.search(rest):
        raise ValueError(f"a ` or * has no partner in {whole[:80]!r}; write \\` or \\* for the mark itself")
    return rest


def _node(node: str | list) -> list:
    if isinstance(node, str):
        return ["mn" if re.fullmatch(r"[0-9.,]+", node) else "mi" if node.isalpha() else "mo", node]
    tag, *children = node
    if tag in _LEAVES:
        if len(children) != 1 or not isinstance(children[0], str):
            raise ValueError(f"<{tag}> holds one string, not {children!r}")
        return [tag, children[0]]
    least, most = _ARITY[tag]
    if not least <= len(children) <= most:
        raise ValueError(
            f"<{tag}> takes {least if least == most else f'{least} or more'} children, not {len(children)}"
        )
    return [tag, *map(_node, children)]


def _linear(node: list) -> str:
    tag, *children = node
    if tag in _LEAVES:
        return f" {children[0]} " if tag == "mo" and children[0] in _SPACED else children[0]
    if tag in ("mrow", "msqrt"):
        return ("\u221a({})" if tag == "msqrt" else "{}").format("".join(map(_linear, children)))
    sign = {"mfrac": " / ", "msup": "^", "msub": "_"}[tag]
    return sign.join(_grouped(child) for child in children)


def _grouped(node: list) -> str:
    text = _linear(node)
    return text if node[0] in _LEAVES or node[0] == "msqrt" or (text[0] == "(" and text[-1] == ")") else f"({text})"
