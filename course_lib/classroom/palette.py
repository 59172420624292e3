"""The one palette of the course: every picture, explorer and quiz takes its colours from here.

The hues are Okabe and Ito's, which colour-blind readers can tell apart, darkened on white and lightened on
black until text in them reaches a contrast of 4.5:1. Colour is never the only sign: masked cells are hatched, the
cells that the prefix adds carry a dot and an outline, roles are also said in words.
"""

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "line": "#d0d7de",
    "prefix": "#0067a3",  # the outline: what is read
    "prefix-soft": "#d8ebf7",
    "target": "#b34700",  # the story: what is written
    "target-soft": "#fbe4d3",
    "added": "#00775a",  # what the prefix adds to causal
    "added-soft": "#cdeee4",
    "cross": "#8f3f8f",  # an encoder-decoder's target reading its source
    "hatch": "#c9d0d6",
    "good": "#00775a",
    "bad": "#a8326b",
    "focus": "#0067a3",
}

DARK = {
    "paper": "#111418",
    "ink": "#e8ebee",
    "muted": "#a0a9b2",
    "line": "#3a424b",
    "prefix": "#6cbcf0",
    "prefix-soft": "#12374f",
    "target": "#f5a55c",
    "target-soft": "#4a2a12",
    "added": "#4fd0a8",
    "added-soft": "#0e4234",
    "cross": "#d9a0dc",
    "hatch": "#3d4650",
    "good": "#4fd0a8",
    "bad": "#f08cb8",
    "focus": "#6cbcf0",
}


def css_variables(scope: str = ".course") -> str:
    """Return the palette as CSS custom properties (`--c-ink`, ...) on a selector, for light, dark and plain pages.

    JupyterLab marks its theme on `body[data-jp-theme-light]`; a page without that mark follows the reader's system. So
    does every page where the system forces its own colours (high contrast): the ground is then the system's.
    """

    def rule(selector: str, colours: dict[str, str]) -> str:
        return f"{selector} {{ " + " ".join(f"--c-{name}: {value};" for name, value in colours.items()) + " }"

    forced = "@media (forced-colors: active)"
    return "\n".join(
        [
            rule(scope, LIGHT),
            rule(f'body[data-jp-theme-light="false"] {scope}', DARK),
            "@media (prefers-color-scheme: dark) { " + rule(f"body:not([data-jp-theme-light]) {scope}", DARK) + " }",
            f"{forced} and (prefers-color-scheme: light) {{ {rule(f'body[data-jp-theme-light] {scope}', LIGHT)} }}",
            f"{forced} and (prefers-color-scheme: dark) {{ {rule(f'body[data-jp-theme-light] {scope}', DARK)} }}",
        ]
    )
