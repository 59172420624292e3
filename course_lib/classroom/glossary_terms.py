"""The words of the course, one sentence each, under the lesson and the heading that teach them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A word, what it means, and where it is taught; `seen` is how that lesson spells it."""

    name: str
    meaning: str
    notebook: str
    heading: str
    seen: str


_TERMS = {
    ("01_guided_storyteller", "A desk with an outline on it"): {
        "prefix language model": "A model with one stack of layers that reads its prefix in both directions and writes "
        "its target word by word; prefix LM for short.",
    },
    ("01_guided_storyteller", "Six words, by hand"): {
        "token": "One of the pieces that a text is cut into: a word, a part of a word, or a mark.",
    },
    ("01_guided_storyteller", "Four ways to look at one sentence"): {
        "encoder-only": "Every token sees every token, as in BERT: good at reading, but it cannot write word by word.",
        "decoder-only": "Every token sees itself and what came before, as in GPT: the prompt is read one way, too.",
        "encoder-decoder": "Two stacks of layers: one reads the source both ways, the other writes and looks over.",
        "cross-attention": "The attention with which the writer of an encoder-decoder looks at what the reader found.",
    },
    ("02_prefix_mask", "One square of ones"): {
        "prefix": "The first `P` tokens of a text, the given part, in which every token sees every other.",
        "target": "The tokens after the prefix: the part to be written, each seeing the prefix and what came before; "
        "in training, also the token that a row should predict.",
        "mask": "A table that says who may look at whom: a row for each query, a column for each key.",
        "query": "The vector with which a token looks: its row of the mask says at whom.",
        "key": "The vector by which a token is found when others look at it.",
        "causal mask": "The mask of a decoder: a token sees itself and what came before, and nothing later.",
    },
    ("02_prefix_mask", "Attention under the mask"): {
        "attention": "The step in which each token compares its query with the keys that it may see, and takes a "
        "weighted mix of their values.",
        "value": "The vector that a token hands over to those who look at it.",
        "head": "One of several attentions that run side by side in a layer, each with queries, keys and values of "
        "its own.",
        "score": "How well a query and a key fit, as one number: their product, before the softmax.",
        "softmax": "The step that turns a row of scores into positive weights that sum to 1.",
    },
    ("02_prefix_mask", "Three traps"): {
        "probe": "A tool that measures who sees whom: it changes one input at a time and watches which outputs move.",
    },
    ("02_prefix_mask", "What a block really sees"): {
        "block": "One layer of a Transformer: attention, and a small network after it.",
    },
    ("02_prefix_mask", "Real batches"): {
        "padding": "Tokens without meaning that fill up a short text in a batch; nobody may see them.",
        "packing": "Several texts one after the other in one line of a batch, blind to each other.",
        "Visibility": "The library's way to say who sees whom in a batch: prefix lengths, real lengths and documents.",
    },
    ("02_prefix_mask", "What it costs"): {
        "tile": "A square block of the table of scores that a fast kernel computes whole, or skips whole.",
        "kernel": "The routine that computes an attention on a processor.",
    },
    ("03_prefix_lm", "One set of weights, three masks"): {
        "MLP": "The small network in each block that works on each token by itself.",
        "logits": "The scores that a row gives to every word that could come next.",
        "embedding": "The vector with which a token enters the first layer: for its word and, in some models, its "
        "place.",
    },
    ("03_prefix_lm", "Only the story is scored"): {
        "BOS": "The mark in front of a text, which says that it begins; EOS is the mark that ends it.",
        "loss": "The mean of -log p over the rows that are scored, where p is the probability of the right next token.",
        "loss mask": "A bool for each row that says whether it is scored; in a prefix LM, from the last row of the "
        "prefix on.",
    },
    ("03_prefix_lm", "Does it help?"): {
        "arm": "One of several trainings that differ in one thing only, to find out what that thing does.",
        "held-out": "Kept away from training, so that a model is measured on texts that it has never seen.",
        "pretrained": "Trained first, on much text; finetuned is what was trained on after that, for a purpose.",
        "bidirectional": "In both directions: a token sees the tokens before it and those after it.",
    },
    ("03_prefix_lm", "The cache, and what goes stale"): {
        "KV cache": "The keys and values of all tokens so far, kept so that writing one more token needs one row only.",
        "prefill": "The first pass of a model, which reads the whole prompt and fills the cache.",
        "decoding": "Writing token by token, one row a step, from what the cache holds.",
        "stale": "Kept in the cache, but no longer what a fresh reading would give, because the prefix has changed.",
    },
    ("03_prefix_lm", "In the wild"): {
        "two passes": "The prefix mask by two calls of a kernel that knows only full and causal: prefix at prefix, "
        "full; target at all, causal; `split` in the library.",
        "objective": "What a model is trained to predict; the mask, a separate choice, says what it may see.",
    },
    ("04_glm", "A text with blanks"): {
        "span": "Tokens that stand together in a text, from a start to an end.",
        "blank infilling": "GLM's objective: spans are cut out of a text, and written again after it, token by token.",
        "Part A": "In GLM, the text with one `[MASK]` for each span that was cut out, read both ways.",
        "Part B": "In GLM, the spans, written one by one after Part A, and scored.",
        "block position": "In GLM, the place of a token within its span, counted from 1; 0 in Part A.",
    },
    ("04_glm", "Why each part is there"): {
        "sentinel": "A mark of its own for each blank, as T5 has them; GLM uses one `[MASK]` for all.",
    },
    ("04_glm", "Objectives side by side"): {
        "fill-in-the-middle": "An objective for a causal decoder: the end of a text is moved in front of its middle.",
    },
    ("05_palm_parallel", "Two formulas"): {
        "serial block": "The usual block of a Transformer: the MLP reads what attention has just written.",
        "parallel block": "A block in which attention and MLP read the same input side by side, and both are added.",
    },
    ("05_palm_parallel", "Five products, or one"): {
        "fusing": "Stacking several matrices that multiply the same input, so that one product does the work of all.",
    },
    ("05_palm_parallel", "Two devices, one sum"): {
        "tensor parallelism": "Cutting every layer over several devices, each with some heads and some features.",
        "roofline": "The least time that a step can take, by the speed of the arithmetic or by that of moving the "
        "numbers, whichever is slower.",
        "all-reduce": "Adding up what all devices have, so that each has the sum; all of them wait for it.",
    },
    ("05_palm_parallel", "PaLM's other choices"): {
        "multi-query attention": "Many query heads that share one key and one value, which makes the cache small.",
        "rotary positions": "Queries and keys are turned by an angle that grows with their place, so their product "
        "knows how far apart they are.",
    },
    ("06_linear_attention", "The order of three matrices"): {
        "state": "The sum of all keys times values, `KᵀV`: a table of fixed size, however long the text.",
    },
    ("06_linear_attention", "What stands in for exp"): {
        "linear attention": "Attention without the softmax: its work grows with the length of a text, not its square.",
        "feature map": "A function that maps queries and keys to features, whose products are then the weights.",
    },
    ("06_linear_attention", "A running sum"): {
        "recurrence": "Walking through a text with a state: add a token to it, read from it, go on.",
    },
    ("06_linear_attention", "Chunks"): {
        "chunk": "Some tokens in a row that linear attention computes pair by pair, with the state for all before.",
    },
    ("06_linear_attention", "The normaliser"): {
        "normaliser": "The running sum of the keys, read by the same query, by which an output of linear attention is "
        "divided.",
    },
    ("07_prefix_linear_attention", "What JRT-RNN does"): {
        "JRT-RNN": "A model whose linear attention reads its prompt both ways with a second stream of keys and values "
        "beside a causal one.",
    },
    ("07_prefix_linear_attention", "What a small state recalls"): {
        "recall": "Reading out of a memory, by its key, a value that was written before.",
    },
    ("07_prefix_linear_attention", "Decay, gating, selection"): {
        "decay": "Letting a state fade before each new token.",
        "gate": "A factor by which a token itself decides how much of a state it keeps.",
    },
}  # fmt: skip
_SPELT = {
    "loss mask": "loss_mask",
    "blank infilling": "blank_infilling",
    "embedding": "embeddings",
    "score": "scores",
    "arm": "arms",
    "recall": "recalls",
}

TERMS = tuple(
    sorted(
        (
            Term(name, meaning, notebook, heading, _SPELT.get(name, name))
            for (notebook, heading), terms in _TERMS.items()
            for name, meaning in terms.items()
        ),
        key=lambda term: term.name.lower(),
    )
)
