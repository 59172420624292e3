"""The pictures of the lessons. Each that follows a prediction takes the learner's guess, or None, and draws it in."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from course_lib import costs, masks

from .palette import LIGHT
from .pictures import draw_mask

SIX = ["bank", "river", "boat", "she", "rows", "home"]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["paper"])
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.975))  # top labels push the titles out of the picture
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def _guess_line(figure: Figure, guess, truth, unit: str) -> None:
    """Say the guess under the picture, beside the count."""
    said = "no guess yet" if guess is None else f"your guess: {guess:g}"
    figure.supxlabel(f"{said}    counted: {truth} {unit}", fontsize=11, color=LIGHT["ink"])


def _plain_mask(axis, mask, **options) -> None:
    """Draw a mask as lessons 00 and 01 speak of it: before there are queries and keys."""
    draw_mask(mask, ax=axis, legend=False, **options)
    axis.set(xlabel="is looked at", ylabel="looks")


def _plain_legend(owner, *roles: str, **place) -> None:
    names = {"prefix": "at the outline", "added": "ahead", "target": "at the story", "cross": "cross-attention"}
    handles = [Patch(color=LIGHT[role], label=names[role]) for role in roles]
    handles.append(Patch(fc=LIGHT["paper"], ec=LIGHT["hatch"], hatch="/////", lw=0, label="may not look"))
    owner.legend(handles=handles, frameon=False, fontsize=9, **(place or {"loc": "outside lower center", "ncols": 5}))


def all_looks(guess=None) -> Figure:
    """Lesson 00: six tokens, each looks at each."""
    figure, (axis,) = _figure(4.2, 4.2)
    # the encoder-decoder's colours, because nothing here is added to anything yet
    _plain_mask(axis, masks.bidirectional_mask(6), prefix_len=6, kind="encoder-decoder", title="6 rows of 6 looks")
    _guess_line(figure, guess, 36, "looks")
    return figure


def desk() -> Figure:
    """Lesson 01: three cards that look at each other, and a page on which each word looks back."""
    figure, (axis,) = _figure(10, 3.7)
    axis.set(xlim=(0, 13), ylim=(-2.7, 2.8))
    axis.axis("off")
    ink, paper, blue, orange = (LIGHT[name] for name in ("ink", "paper", "prefix", "target"))
    axis.add_patch(Rectangle((6.75, -1.05), 6, 2.1, facecolor=paper, edgecolor=ink, lw=1.2))
    for line in (-0.4, 0.4):
        axis.plot([6.95, 12.55], [line, line], color=LIGHT["line"], lw=0.8)
    x_of = [1, 3, 5, 7.75, 9.6, 11.5]
    for i, (word, x) in enumerate(zip(SIX, x_of, strict=True)):
        card = {"boxstyle": "round,pad=0.7", "facecolor": LIGHT["prefix-soft"], "edgecolor": blue} if i < 3 else None
        faint = i == 5
        axis.text(x, 0, "?" if faint else word, ha="center", va="center", fontsize=15, bbox=card,
                  color=LIGHT["muted"] if faint else ink if i < 3 else orange, family="serif")  # fmt: skip

    def look(i: int, j: int, start: float, end: float, bend: float, colour: str, style: str) -> None:
        arrow = {"arrowstyle": style, "color": colour, "lw": 1.5, "connectionstyle": f"arc3,rad={bend}", "shrinkB": 2}
        axis.annotate("", (x_of[j], end), (x_of[i], start), arrowprops=arrow)

    for i, j in [(0, 1), (1, 2), (0, 2)]:
        look(i, j, -0.75, -0.75, 0.45, blue, "<|-|>")
    for j, bend in [(3, 0.6), (2, 0.42), (1, 0.4), (0, 0.4)]:
        look(4, j, 0.4, 0.75 if j < 3 else 0.4, bend, orange, "-|>")
    axis.text(3, -2.6, "the outline: every card looks at every card", ha="center", color=blue, fontsize=11)
    axis.text(9.75, -2.6, "the story: each word looks back, and at all cards", ha="center", color=orange, fontsize=11)
    return figure


def six_tokens(guess=None) -> Figure:
    """Lesson 01: the outline of three cards and the story of three words."""
    figure, (axis,) = _figure(5.2, 5)
    _plain_mask(axis, masks.prefix_mask(3, 6), tokens=SIX, prefix_len=3, title="who looks at whom")
    _plain_legend(axis, "prefix", "added", "target", loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    _guess_line(figure, guess, costs.allowed_pairs(3, 6), "looks")
    return figure


def four_kinds() -> Figure:
    """Lesson 01: one sentence under four habits of looking."""
    figure, axes = _figure(12.4, 3.9, 4)
    kinds = [
        ("encoder-only", "encoder", masks.bidirectional_mask(6)),
        ("decoder-only", "decoder", masks.causal_mask(6)),
        ("encoder-decoder", "encoder-decoder", masks.prefix_mask(3, 6)),
        ("prefix LM", "prefix", masks.prefix_mask(3, 6)),
    ]
    for axis, (name, kind, mask) in zip(axes, kinds, strict=True):
        _plain_mask(axis, mask, tokens=SIX, prefix_len=3, kind=kind, title=name)
    for y, x, text in [(1.5, 1.5, "reads\nthe source"), (4.5, 1.5, "looks over"), (4.5, 4.5, "writes")]:
        axes[2].text(x, y, text, ha="center", va="center", fontsize=8, color=LIGHT["ink"], bbox=_label())
    _plain_legend(figure, "prefix", "added", "target", "cross")
    return figure


def _label() -> dict:
    return {"facecolor": LIGHT["paper"], "edgecolor": LIGHT["line"], "boxstyle": "round,pad=0.25"}


def prefix_against_causal(guess=None) -> Figure:
    """Lesson 02: the causal mask, and the prefix mask beside it."""
    figure, (left, right) = _figure(8.6, 4.4, 2)
    draw_mask(masks.causal_mask(7), prefix_len=0, title="causal: 28 ones", ax=left)
    draw_mask(masks.prefix_mask(3, 7), prefix_len=3, title=f"prefix, P = 3: {costs.allowed_pairs(3, 7)} ones", ax=right)
    _guess_line(figure, guess, costs.allowed_pairs(3, 7), "ones")
    return figure


def batch_masks() -> Figure:
    """Lesson 02: a padded example, and two packed documents."""
    figure, (left, right) = _figure(9, 4.6, 2)
    padded = masks.Visibility([3], lengths=[5]).mask(7)[0, 0]
    draw_mask(
        padded,
        tokens=["a", "b", "c", "d", "e", "pad", "pad"],
        prefix_len=3,
        title="padded: 5 tokens of 7, P = 3",
        ax=left,
    )
    packed = masks.Visibility([2, 1], document_lens=[4, 3]).mask(8)
    labels = ["a", "b", "c", "d", "u", "v", "w", "rest"]
    starts = [True, True, False, False, True, False, False, False]
    title = "packed: two documents, P = 2 and P = 1"
    draw_mask(packed, tokens=labels, prefix_keys=starts, title=title, ax=right)
    return figure


def cost_against_causal(guess=None) -> Figure:
    """Lesson 02: pairs, their limit, and tiles, against causal, as the prefix grows. `guess` is five values or None."""
    total_len, block = 4096, 128
    shares = [step / 64 for step in range(65)]
    prefixes = [round(share * total_len) for share in shares]
    causal_pairs, causal_tiles = costs.allowed_pairs(0, total_len), costs.tiles(0, total_len, block).visited
    pairs = [costs.allowed_pairs(p, total_len) / causal_pairs for p in prefixes]
    tiled = [costs.tiles(p, total_len, block).visited / causal_tiles for p in prefixes]

    figure, (axis,) = _figure(7.6, 4.4)
    axis.set_facecolor(LIGHT["paper"])
    axis.plot(shares, [1 + s * s for s in shares], color=LIGHT["muted"], lw=6, alpha=0.35, label="limit, 1 + (P/T)²")
    axis.plot(shares, pairs, color=LIGHT["prefix"], lw=2, label="pairs, counted")
    axis.plot(shares, tiled, color=LIGHT["added"], lw=1.8, ls="--", label=f"tiles of {block} × {block}, counted")
    if guess is not None:
        axis.plot(
            [0, 0.25, 0.5, 0.75, 1],
            guess,
            "o-",
            color=LIGHT["target"],
            ms=8,
            mfc="none",
            clip_on=False,
            label="your guess",
        )
    axis.set(
        xlabel="share of the text that is prefix, P / T", ylabel="work against causal", xlim=(0, 1), ylim=(0, None)
    )
    axis.set_title(f"T = {total_len}", fontsize=11, color=LIGHT["ink"])
    axis.grid(color=LIGHT["line"], lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    return figure


def seen_by_model(seen: dict) -> Figure:
    """Lesson 03: which inputs moved which outputs of one model, measured, {P: bool (T, T)}."""
    figure, axes = _figure(3.9 * len(seen), 4.2, len(seen))
    names = {0: "a decoder", max(seen): "an encoder"}
    for axis, (prefix_len, cells) in zip(axes, seen.items(), strict=True):
        title = f"P = {prefix_len}: {names.get(prefix_len, 'a prefix LM')}"
        draw_mask(cells, prefix_len=prefix_len, title=title, ax=axis, legend=False)
        axis.set(xlabel="input that was replaced", ylabel="output" if axis is axes[0] else "")
    return figure


def rows_apart(differences: dict, prefix_len: int) -> Figure:
    """Lesson 03: how far a row's logits lie apart under the causal and the prefix mask, {model: one number a row}."""
    figure, axes = _figure(9, 3.2, len(differences))
    for axis, (name, rows) in zip(axes, differences.items(), strict=True):
        colours = [LIGHT["prefix"] if i < prefix_len else LIGHT["target"] for i in range(len(rows))]
        axis.bar(range(len(rows)), rows, color=colours)
        for i, value in enumerate(rows):
            axis.annotate("0" if value == 0 else f"{value:.2f}", (i, value), ha="center", va="bottom", fontsize=9)
        axis.set_title(name, fontsize=11, color=LIGHT["ink"])
        axis.set(xlabel="row", xticks=range(len(rows)), ylim=(0, max(max(rows) * 1.2, 0.1)), facecolor=LIGHT["paper"])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("largest difference of a logit")
    handles = [
        Patch(color=LIGHT["prefix"], label="row of the prefix"),
        Patch(color=LIGHT["target"], label="row of the target"),
    ]
    figure.legend(handles=handles, frameon=False, fontsize=9, loc="outside lower center", ncols=2)
    return figure
