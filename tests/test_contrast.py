"""Every pair of colours that the style sheets name is strong enough in both themes, and a weak one would be noticed."""

import contrast
import pytest

from course_lib.classroom.palette import DARK, LIGHT


def test_every_pair_of_the_style_sheets_is_strong_enough():
    weak = [row for row in contrast.measured() if row[3] < row[4]]
    assert weak == []


def test_the_pairs_are_found():
    found = set(contrast.pairs())
    assert {one for one, under, need in found if under == "paper" and need == contrast.TEXT} >= {
        "ink", "muted", "prefix", "target", "good", "bad"
    }  # fmt: skip
    assert ("paper", "prefix", contrast.TEXT) in found  # a filled button
    assert ("ink", "hatch 22 paper", contrast.TEXT) in found  # the ground of what is said in words
    assert {under for one, under, _ in found if one == "focus"} >= {"paper", "prefix-soft", "target-soft", "added-soft"}
    assert {one for one, _, need in found if need == contrast.MARK} >= {"prefix", "target", "added", "cross", "bad"}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21),
        ("#777777", "#ffffff", 4.478),
        ("#ff0000", "#00ff00", 2.914),
        ("#abcdef", "#abcdef", 1),
    ],
)
def test_the_ratio_is_that_of_wcag(one, other, expected):
    assert contrast.ratio(contrast.channels(one), contrast.channels(other)) == pytest.approx(expected, abs=0.001)


def test_mixtures():
    assert contrast.colours_in("color-mix(in srgb, var(--c-bad) 25%, transparent), var(--c-ink)") == {
        "bad 25 paper",
        "ink",
    }
    assert contrast.colour_of("ink 100 paper", LIGHT) == contrast.channels(LIGHT["ink"])
    assert contrast.colour_of("ink 0 paper", DARK) == contrast.channels(DARK["paper"])


def test_a_weak_pair_is_noticed(tmp_path, monkeypatch, capsys):
    quiet = ".x .quiet { color: var(--c-hatch); }"
    loud = "@container (x) { .y { background: var(--c-bad); color: var(--c-target); } }"
    (tmp_path / "x.css").write_text(f"{quiet}\n{loud}")
    monkeypatch.setattr(contrast, "STATIC", tmp_path)
    assert contrast.main() == 1
    weak = [line for line in capsys.readouterr().out.splitlines() if line.startswith("TOO WEAK")]
    assert len(weak) == 4
    assert all("hatch on paper" in line or "target on bad" in line for line in weak)


def test_both_themes_have_the_same_roles():
    assert list(LIGHT) == list(DARK)
