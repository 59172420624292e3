"""The course on one page: eight small pictures, each drawn by its lesson's own function from numbers computed here."""

from functools import cache

from matplotlib.figure import Figure

from course_lib import costs, glm, masks

from . import flow_words, prefix_linear_pictures
from .cache_explorer import CacheExplorer
from .chunk_explorer import ChunkExplorer, draw_shapes
from .explorer_pictures import draw_cache_rows
from .flow_explorer import SHAPE, draw_block
from .palette import LIGHT
from .pictures import draw_mask, paper
from .state_explorer import MOST_FACTS, StateExplorer, draw_facts

P, T = 3, 7
WORDS = ("x1", "x2", "x3", "x4", "x5", "x6")
BLANKS = ((2, 3), (4, 6))


def picture() -> Figure:
    """Draw the course on one page."""
    figure = paper(9.6, 14.4)
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.08)
    axes = figure.subplots(4, 2, height_ratios=(1.35, 0.95, 1.3, 1.05))
    numbers = _numbers()
    _draw_masks(*axes[0], numbers)
    _draw_memories(*axes[1], numbers)
    _draw_blocks(*axes[2], numbers)
    _draw_prices(*axes[3], numbers)
    return figure


def in_words() -> str:
    """Say what the page shows, with the same numbers."""
    n = _numbers()
    return " ".join(
        [
            "The course on one page.",
            f"The prefix mask for P = {P} of {T} tokens: {n['looks']} looks, {n['added']} more than causal.",
            f"GLM: the same mask over {n['part_a']} tokens of Part A and {n['part_b']} of Part B.",
            f"A cache whose prefix grew from {n['before']} to {n['after']}: {n['stale']} of {n['rows']} rows are",
            "stale, none of layer 1.",
            f"A state of {n['features']} features: {n['recalled']} of {n['facts']} facts are read right.",
            f"A serial block in {n['serial']} steps, a parallel one in {n['parallel']}.",
            "Linear attention with a prefix: one square for the prefix, chunks for the target.",
            f"All prefix costs {n['softmax']:.2f} of causal with a softmax, {n['linear']:.2f} without.",
        ]
    )


@cache
def _explorers() -> tuple[CacheExplorer, StateExplorer]:
    kept = CacheExplorer(["Mara", "bat", "fox", "forest"], ["Mara", "walks", "home", "."], layers=3, step=5)
    kept.prefix_len = 7
    return kept, StateExplorer(MOST_FACTS, features=16, step=MOST_FACTS)


@cache
def _numbers() -> dict[str, float]:
    """Return every number that the page says."""
    kept, state = _explorers()
    example = _example()
    graphs = _graphs()
    return {
        "looks": costs.allowed_pairs(P, T),
        "added": costs.added_pairs(P),
        "part_a": example.context_len,
        "part_b": len(example.tokens) - example.context_len,
        "before": kept.cached_prefix_len,
        "after": kept.prefix_len,
        "stale": sum(len(rows) for rows in kept.stale),
        "rows": kept.held * kept.layers,
        "features": state.features,
        "facts": len(state.recalled),
        "recalled": sum(state.recalled),
        "serial": graphs["serial"]["steps"],
        "parallel": graphs["parallel"]["steps"],
        "softmax": costs.allowed_pairs(4096, 4096) / costs.allowed_pairs(0, 4096),
        "linear": prefix_linear_pictures.counted_costs()[-1],
    }


@cache
def _example() -> glm.BlankInfilling:
    return glm.blank_infilling(range(6), list(BLANKS), mask_id=6, start_id=7, end_id=8, order=[1, 0])


@cache
def _graphs() -> dict:
    return flow_words.everything(SHAPE, 128)[flow_words.variant(False, 1)]


def _title(axis, lesson: str, words: str, **look) -> None:
    axis.set_title(f"{lesson} · {words}", fontsize=11, loc="left", color=LIGHT["ink"], parse_math=False, **look)


def _draw_masks(left, right, n: dict) -> None:
    draw_mask(masks.prefix_mask(P, T), prefix_len=P, ax=left)
    _title(left, "02", f"The mask: {n['looks']} looks, {n['added']} of them new")
    names = [*WORDS, "[M]", "[S]", "[E]"]
    reads = [names[i] for i in _example().tokens]
    draw_mask(masks.prefix_mask(n["part_a"], len(reads)), tokens=reads, prefix_len=n["part_a"], ax=right)
    _title(right, "04", "GLM: the same mask, and blanks behind it")


def _draw_memories(left, right, n: dict) -> None:
    kept, state = _explorers()
    draw_cache_rows(left, kept.state)
    _title(left, "03", f"A cache: P grew from {n['before']} to {n['after']}, {n['stale']} of {n['rows']} rows stale")
    draw_facts(right, state)
    _title(right, "06", f"A state of {n['features']} features: {n['recalled']} of {n['facts']} facts read right")


def _draw_blocks(left, right, n: dict) -> None:
    for axis, name in ((left, "serial"), (right, "parallel")):
        block = _graphs()[name]
        draw_block(axis, block, 0, max(n["serial"], n["parallel"]))
        _title(axis, "05", f"The {name} block: {n[name]} steps")


def _draw_prices(left, right, n: dict) -> None:
    left.axis("off")
    draw_shapes(left, ChunkExplorer("chunks", total_len=512, prefix_len=256, chunk=64, features=64))
    _title(left, "07", "Prefix: one square, no mask. Target: chunks", pad=14)
    prefix_linear_pictures.draw_costs(right)
    right.spines[["top", "right"]].set_visible(False)
    right.grid(color=LIGHT["line"], lw=0.6)
    _title(right, "02, 07", "What a prefix costs, counted")
