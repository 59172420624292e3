"""What a machine can find of barriers: axe-core's rules and the contrast of every text, in every widget and state."""

import pytest
from seen_text import dim_text

WEIGHTY = {"serious", "critical"}


@pytest.fixture(scope="session")
def axe_source(unavailable):
    try:
        from axe_playwright_python.base import AXE_SCRIPT
    except ImportError:
        unavailable("axe is not installed: make test-browser installs it")
    return AXE_SCRIPT


def broken_rules(page, source: str) -> list[str]:
    """Return axe's serious and critical findings, in words. Contrast is left to `dim_text`, which sees more."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(source)
    options = {"resultTypes": ["violations"], "rules": {"color-contrast": {"enabled": False}}}
    found = page.evaluate("(options) => axe.run('main', options)", options)["violations"]
    return [
        f"{rule['id']} ({rule['help']}): {node['html'][:120]}"
        for rule in found
        if rule["impact"] in WEIGHTY
        for node in rule["nodes"]
    ]


def test_no_widget_breaks_a_rule_or_shows_dim_text_in_any_state_or_theme(gallery_page, axe_source):
    gallery, problems = gallery_page(), []
    for state in (gallery.settle, gallery.use_explorers, gallery.answer_wrong, gallery.answer_again):
        state()
        for theme in ("light", "dark"):
            gallery.theme(theme)
            found = [*dim_text(gallery.page), *(broken_rules(gallery.page, axe_source) if theme == "light" else [])]
            problems += [f"{state.__name__}, {theme}: {problem}" for problem in found]
    assert problems == []


BARRIERS = {
    "button-name": "<button></button>",
    "label": "<input type=text>",
    "image-alt": "<img src='data:,'>",
    "aria-valid-attr-value": "<span role=checkbox tabindex=0 aria-checked=yes aria-label=x></span>",
    "list": "<ul><div>x</div></ul>",
    "aria-required-attr": "<div role=slider tabindex=0 aria-label=x></div>",
}


def test_a_barrier_is_noticed(new_page, axe_source):
    page = new_page(local=("about:",))
    page.set_content(f"<html lang=en><title>x</title><main>{''.join(BARRIERS.values())}</main>")
    assert {problem.split()[0] for problem in broken_rules(page, axe_source)} == set(BARRIERS)


def test_dim_text_is_noticed(new_page):
    """Grey text, text on a hatching or in a picture, pale text; not what is off, and not what can be read."""
    page = new_page(local=("about:",))
    hatched = "background: repeating-linear-gradient(45deg, #fff 0 3px, #a8326b 3px 6px); color: #a8326b"
    page.set_content(
        "<main><div id=x class=course>"
        "<p style='color: #999'>grey</p><p style='color: #333'>dark</p>"
        f"<p style='{hatched}'>hatched</p><p style='color: #333; opacity: 0.5'>pale</p>"
        "<p><button disabled style='color: #bbb'>off</button></p>"
        "<svg width=200 height=40><rect width=200 height=40 fill=#0067a3 /><text y=25 x=5 fill=#000>drawn</text></svg>"
        "</div></main>"
    )
    assert {problem.split("'")[1] for problem in dim_text(page)} == {"grey", "hatched", "pale", "drawn"}
