r'''The banks: the course's questions and predictions, as JSON, read and checked here.

A bank is `banks/NAME.json`; NAME is the notebook's name without its number (`prefix_mask`), or `chapter`. Ids are
`NAME.slug`, with the bank's own NAME, and never change: progress is kept under them.

    {"schema": 1,
     "notebook": "02_prefix_mask",                                  left out in chapter.json
     "objectives": {"prefix_mask.write": "Write a prefix mask three ways"},
     "decks": {"cost": ["prefix_mask.pairs_at_half", "chapter.q3"]},    shown by quiz("prefix_mask.cost")
     "questions": [...],
     "predictions": [...]}

A deck may borrow a question, and a question an objective, from another bank.

**Rich text** (prompt, hint, explanation, feedback, option, item, model answer, self-check) is a string, or a list of
strings and formulas. A string knows `code` and *emphasis*; a backslash before ` or * or \ makes it plain (in JSON it
is typed twice). Nothing is ever read as HTML: `<b>` shows as typed. A formula is {"math": [node, ...]}; a node is
[tag, child, ...] with mrow, msqrt (one child or more), mfrac, msup, msub (two), mi, mn, mo, mtext (one string). A bare
string stands for mn when it is a number, mi when it is letters, mo otherwise:

    ["The limit is ", {"math": ["1", "+", ["msup", ["mrow", "(", ["mfrac", "P", "T"], ")"], "2"]]}, "."]

**Every question** has id, kind, objective, taught (the notebook, and the heading as its text reads there), prompt,
hint (offered after the first miss) and explanation (said when the answer is right, or shown after the second miss).

choice: exactly one option is right; each has its own feedback, also the right one (said before the explanation).

    {"id": "prefix_mask.first_row", "kind": "choice", "objective": "prefix_mask.read",
     "taught": {"notebook": "02_prefix_mask", "heading": "One square of ones"},
     "prompt": "With `P = 3`, which columns may row 0 see?",
     "options": [{"text": "0 only", "feedback": "That is the causal mask: the prefix lifts the hand."},
                 {"text": "0, 1 and 2", "right": true, "feedback": "Row 0 lies in the prefix and sees all of it."}],
     "hint": "Is token 0 in the prefix?", "explanation": "Every prefix row sees every prefix column."}

choices: one or more options are right, and exactly these must be chosen. Feedback is said for wrong ones chosen.

    {..., "kind": "choices", "options": [as above, "right": true on each right one], ...}

number: answer +- tolerance (left out: exact). `check` is a Python expression for the same number; tests evaluate it
with the names math, torch, masks, costs, so that no key is merely typed. `near_misses` name typical slips (each may
have a `check` too); other wrong numbers are told to be too large or too small. `unit` is plain text after the field.
Learners may type 31, 31.0, 1,024 (commas between thousands), 1e3, 9/16, or the unit after it; see quiz.parse_number.

    {..., "kind": "number", "answer": 31, "check": "costs.allowed_pairs(3, 7)", "unit": "pairs",
     "near_misses": [{"value": 28, "feedback": "28 is the causal mask alone."}], ...}

mask: click the cells that may attend; total length 2..10. `tokens`, if given, are T short labels. The target is one of

    {"prefix_len": 3, "total_len": 5}    {"kind": "decoder", "total_len": 5}    {"kind": "encoder", "total_len": 5}
    {"kind": "packed", "prefix_lens": [1, 2], "document_lens": [3, 4]}

    {..., "kind": "mask", "target": {"prefix_len": 2, "total_len": 4}, "tokens": ["a", "lamp", "is", "lit"], ...}

order: 3..8 items, written in the right order; they are shown shuffled, always the same way, never already right.

    {..., "kind": "order", "items": ["score", "mask", "softmax", "mix the values"], ...}

words: the learner writes, then compares with a model answer and ticks a self-check list. hint, explanation optional.

    {..., "kind": "words", "model": "A prefix mask is ...", "checklist": ["I said who sees the prefix.", "..."]}

**Every prediction** has id, kind, taught, prompt. The truth is not in the bank: the lesson's own cell computes it.

    {"id": "prefix_mask.count", "kind": "number", "min": 0, "max": 49, "step": 1, "unit": "ones",
     "taught": {...}, "prompt": "How many ones has the mask?"}           slider; "control": "field" for a field
    {..., "kind": "choice", "options": ["all rows", "rows 0 to 2"]}       plain strings; the value is the string
    {..., "kind": "points", "xs": [0, 32, 64], "x_label": "P", "y_label": "pairs",
     "min": 0, "max": 64, "step": 1, "unit": "k"}                         one value for each x
'''
