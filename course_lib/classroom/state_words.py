"""What the state explorer says. The browser says the same: its twin is static/state_rules.js."""

from .number_words import plural

NOUNS = [
    "lantern", "rope", "comb", "bell", "anchor", "basket", "candle", "drum", "feather", "glove", "hammer",
    "inkpot", "jar", "kettle", "ladder", "mirror", "needle", "oar", "pebble", "quilt", "ribbon", "saddle",
    "thimble", "urn", "vase", "whistle", "yarn", "acorn", "button", "crown", "dice", "fiddle",
]  # fmt: skip
DIGITS = list("12345678")  # value d is the one-hot vector whose d-th entry is 1
VALUES = len(DIGITS)
REFUSED = "normalize needs feature_map 'elu+1': with 'identity' the denominator φ(q)·z may be 0 or negative"


def number(value: float) -> str:
    """Two decimals, a true minus sign, and no minus before zero.

    >>> number(-0.25), number(-0.001)
    ('−0.25', '0.00')
    """
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def sentences(explorer) -> list[str]:
    """Return all that is shown: the settings, the step, the query, the recall and the size."""
    return [_settings(explorer), _step(explorer), _query(explorer), _recall(explorer), size(explorer)]


def _settings(explorer) -> str:
    parts = [plural(explorer.facts, "fact"), f"{explorer.features} features", f"feature map {explorer.feature_map}"]
    if explorer.prefix_len:
        parts.append(f"a prefix of {plural(explorer.prefix_len, 'fact')}")
    return ", ".join(parts + ["normalised"] * explorer.normalize) + "."


def _step(explorer) -> str:
    step, stored, P = explorer.step, explorer.stored, explorer.prefix_len
    said = f"Step {step} of {explorer.last_step}: "
    if not step:
        return said + f"S is empty, all {explorer.features * VALUES} numbers are 0."
    if step == 1 and P > 1:
        return said + (
            f"the prefix, {plural(P, 'fact')}, arrives at once: one product KᵀV is added to S. "
            f"A query made in the prefix sees all {P}."
        )
    fact = stored - 1
    return said + f"{explorer.fact(fact)} arrives: φ(k)ᵀv is added to S, which changes column {explorer.value(fact)}."


def _query(explorer) -> str:
    asked, true = NOUNS[explorer.selected], explorer.value(explorer.selected)
    if not explorer.stored:
        return f"Asked for {asked}, v̂ is 0: nothing is stored yet."
    read = explorer.read(explorer.selected).tolist()
    best = read.index(max(read))
    if explorer.selected >= explorer.stored and read[best] <= 0:
        return f"Asked for {asked}, v̂ is nowhere above 0: {asked} is not stored yet."
    said = f"Asked for {asked}, v̂ is largest at {DIGITS[best]} ({number(read[best])})"
    if explorer.selected >= explorer.stored:
        return f"{said} from other facts alone: {asked} is not stored yet."
    if DIGITS[best] == true:
        return f"{said}, the value that was stored: right."
    return f"{said}, but {true} was stored ({number(read[DIGITS.index(true)])}): wrong."


def _recall(explorer) -> str:
    right = explorer.recalled
    if not right:
        return "Recall 0 of 0."
    wrong = ", ".join(NOUNS[fact] for fact, is_right in enumerate(right) if not is_right)
    return f"Recall {sum(right)} of {len(right)}" + (f"; wrong: {wrong}." if wrong else ".")


def size(explorer) -> str:
    Dk, n = explorer.features, explorer.stored
    holds = f"S holds {Dk} × {VALUES} = {Dk * VALUES} numbers"
    if explorer.normalize:
        holds = f"S and z hold {Dk} × {VALUES} + {Dk} = {Dk * (VALUES + 1)} numbers"
    cache = f"A cache would hold {n} × ({Dk} + {VALUES}) = {n * (Dk + VALUES):,}."
    return f"{holds}; {plural(n, 'fact')} so far. {cache}"
