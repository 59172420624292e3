"""The exercise of lesson 00: something small, to see how a check answers."""

from .engine import Wrong, exercise


def count_pairs(total_len):
    """One solution: every one of T tokens may look at every one of T tokens."""
    return total_len * total_len


@exercise(
    "count_pairs",
    notebook="00_start_here",
    heading="Have your code checked",
    title="Count the pairs of T tokens",
    objective="start_here.answer",
    minutes=1,
    difficulty=1,
    hint="Draw a table with a row for each token that looks, and a column for each token that is looked at.",
    solution=count_pairs,
)
def judge_count_pairs(fn) -> str:
    slips = {
        "sum": (lambda t: t + t, "you counted the rows and the columns, not the cells of the table"),
        "no_self": (lambda t: t * (t - 1), "a token may look at itself too: these pairs are missing"),
        "unordered_no_self": (
            lambda t: t * (t - 1) // 2,
            "you counted each pair once, and nobody at itself. A at B, B at A, and A at A are three looks",
        ),
        "unordered": (
            lambda t: t * (t + 1) // 2,
            "you counted each pair once, whichever way round. Here A looks at B is one thing, and B looks at A another",
        ),
    }
    tried = {total_len: fn(total_len) for total_len in (6, 7, 1, 0)}
    for total_len, answer in tried.items():
        if isinstance(answer, bool) or not isinstance(answer, int):
            raise Wrong(
                "not_a_count", f"A count is an int; for {total_len} tokens you returned a {type(answer).__name__}."
            )
    if all(answer == total_len**2 for total_len, answer in tried.items()):
        return "6 tokens make 36 pairs. Every mask of this course is a choice among such pairs."
    for slug, (slip, words) in slips.items():
        if all(answer == slip(total_len) for total_len, answer in tried.items()):
            raise Wrong(slug, f"For 6 tokens you say {tried[6]}: {words}.")
    if len(set(tried.values())) == 1:
        raise Wrong(
            "constant", f"You say {tried[6]} for every number of tokens: the answer must depend on `total_len`."
        )
    total_len, answer = next((t, a) for t, a in tried.items() if a != t**2)
    raise Wrong("count", f"For {total_len} tokens you say {answer}: draw the table and count its cells.")
