"""The attention explorer in Python: the model's own numbers, in step with the boundary and the text, and its words."""

import pytest
import torch
import traitlets

from course_lib.classroom import attention_words
from course_lib.classroom.attention_explorer import AttentionExplorer, follow_edit
from course_lib.data import Vocabulary, encode_story, story_vocabulary
from course_lib.model import Config, PrefixLM

TEXT = "the bat sees the fox"


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(["the", "bat", "sees", "fox", "a", "."], sentinels=1)


@pytest.fixture(scope="module")
def model(vocabulary):
    return random_model(len(vocabulary))


def random_model(vocab_size: int, **sizes) -> PrefixLM:
    torch.manual_seed(1)
    sizes = {"dim": 16, "layers": 2, "heads": 4, "max_len": 20, "dropout": 0.1, **sizes}
    model = PrefixLM(Config(vocab_size=vocab_size, **sizes))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)  # so that the attention is not spread evenly
    return model


def asked(model, ids: list[int], P: int):
    """What the model says, asked directly."""
    model.eval()
    with torch.no_grad():
        weights = torch.stack([layer[0] for layer in model.attention_weights(torch.tensor([ids]), P)])
        probs = model(torch.tensor([ids]), P)[0][0].softmax(1)
    model.train()
    return weights, probs


def matches(explorer, model, ids: list[int], P: int) -> bool:
    weights, probs = asked(model, ids, P)
    T = len(ids)
    sent = torch.frombuffer(bytearray(explorer.weight_bytes), dtype=torch.float32).reshape(weights.shape)
    assert explorer.tokens == [explorer._vocabulary.token(i) for i in ids]
    assert explorer.computed["prefix_len"] == explorer.prefix_len == P
    assert [len(explorer.computed[name]) for name in ("next", "follows")] == [T, T - 1]
    for i in range(T):
        order = probs[i].argsort(descending=True)[:8]
        assert [p for _, p in explorer.computed["next"][i]] == pytest.approx(probs[i, order].tolist(), abs=1e-6)
        assert [word for word, _ in explorer.computed["next"][i]] == [explorer._vocabulary.token(int(k)) for k in order]
    assert explorer.computed["follows"] == pytest.approx([probs[i, ids[i + 1]].item() for i in range(T - 1)], abs=1e-6)
    torch.testing.assert_close(explorer.probs, probs)
    torch.testing.assert_close(explorer.weights, weights)
    return torch.equal(sent, explorer.weights)


def test_it_shows_what_the_model_says_and_follows_the_boundary(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    ids = [vocabulary.BOS, *vocabulary.encode(TEXT)]
    assert matches(explorer, model, ids, 3)
    for P in (0, 6, 1):
        explorer.prefix_len = P
        assert matches(explorer, model, ids, P)
    assert model.training, "the model is left in the mode it was in"


def test_it_follows_the_text_and_keeps_the_boundary_between_its_words(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3, selected=5)
    explorer.text = "the bat a bat sees"
    assert matches(explorer, model, [vocabulary.BOS, *vocabulary.encode("the bat a bat sees")], 3)
    explorer.text = "a the bat sees the fox"
    assert explorer.computed["moved_from"] is None
    explorer.text = TEXT
    assert explorer.tokens == ["[BOS]", *TEXT.split()]
    explorer.prefix_len = 5
    explorer.text = "bat sees the fox"
    assert (explorer.prefix_len, explorer.computed["moved_from"], explorer.selected) == (4, 5, 4)
    explorer.text = ""
    assert (explorer.tokens, explorer.prefix_len, explorer.selected) == (["[BOS]"], 1, 0)


def test_tokens_may_be_given_as_ids_or_by_name(model, vocabulary):
    ids = [
        vocabulary.BOS,
        *vocabulary.encode("the bat"),
        vocabulary.SENTINEL_0,
        *vocabulary.encode("a"),
        vocabulary.EOS,
    ]
    by_ids = AttentionExplorer(model, vocabulary, ids, 2)
    by_name = AttentionExplorer(model, vocabulary, ["[BOS]", "the", "bat", "[SENTINEL_0]", "a", "[EOS]"], 2)
    by_tensor = AttentionExplorer(model, vocabulary, torch.tensor(ids), 2)
    assert by_ids.tokens == by_name.tokens == by_tensor.tokens
    assert by_ids.text == "the bat [SENTINEL_0] a"
    by_ids.text = "the fox [SENTINEL_0] a bat"  # the special tokens at both ends stay
    assert by_ids.tokens == ["[BOS]", "the", "fox", "[SENTINEL_0]", "a", "bat", "[EOS]"]
    assert AttentionExplorer(model, vocabulary, [], 0).describe() == (
        "There is no token yet: type a text, and the model reads it."
    )
    assert AttentionExplorer(model, vocabulary, vocabulary.encode("the bat"), 0).tokens == ["the", "bat"]


def test_a_story_has_the_prefix_that_training_gave_it():
    vocabulary = story_vocabulary()
    outline, story = "Mara, bat, fox, forest.", "Mara walks to the forest."
    ids, P = encode_story(vocabulary, outline, story)
    explorer = AttentionExplorer(random_model(len(vocabulary), max_len=32), vocabulary, f"{outline} {story}", P)
    assert explorer.tokens == [vocabulary.token(i) for i in ids[:-1]]
    assert explorer.selected == P - 1


def test_refresh_asks_the_model_again(vocabulary):
    model = random_model(len(vocabulary))
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    before = explorer.weights
    with torch.no_grad():
        for weight in model.blocks[0].attention.parameters():
            weight.mul_(1.5)
    explorer.refresh()
    assert not torch.equal(explorer.weights, before)
    assert matches(explorer, model, [vocabulary.BOS, *vocabulary.encode(TEXT)], 3)


def test_the_row_is_one_heads_or_the_mean(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 4, selected=2, layer=1)
    weights = explorer.weights[0, :, 2].double()
    assert explorer.row() == pytest.approx(
        [sum(weights[h, j].item() for h in range(4)) / 4 for j in range(6)], abs=1e-12
    )
    explorer.head, explorer.layer = 3, 2
    assert explorer.row() == explorer.weights[1, 2, 2].double().tolist()


def test_it_says_what_it_shows(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 4, layer=2, head=1, selected=2)
    row, probs, tokens = explorer.row(), explorer.probs[2], explorer.tokens
    said = explorer.describe()
    assert said == repr(explorer)
    assert said.startswith("6 tokens, the first 4 prefix, up to ‘sees’; the target begins with ‘the’. ")
    top = max(range(6), key=lambda j: row[j])
    assert (
        f"Layer 2 of 2, head 1 of 4: ‘bat’ (query 2) gives {row[top]:.2f} of its attention to ‘{tokens[top]}’" in said
    )
    assert f"Of its attention {row[3]:.2f} goes ahead" in said or row[3] < 0.005
    best = int(probs.argmax())
    assert f"After ‘bat’ the model expects ‘{vocabulary.token(best)}’" in said
    assert "the text goes on with ‘sees’" in said
    assert "No loss falls on this row" in said
    explorer.selected = 3  # the last of the prefix: it foretells the first target
    assert "No loss falls" not in explorer.describe()
    assert "It sees nothing that comes after it." in explorer.describe()
    explorer.prefix_len = 0
    assert explorer.describe().startswith("6 tokens, no prefix: each reads itself and what stands before it.")
    explorer.prefix_len = 6
    assert explorer.describe().startswith("6 tokens, all prefix: each reads every token.")
    explorer.selected = None
    assert explorer.describe() == "6 tokens, all prefix: each reads every token."


def test_numbers_in_words():
    assert [attention_words.decimal(w) for w in (0, 0.004, 0.005, 0.125, 0.994, 1)] == [
        "0.00", "under 0.01", "0.01", "0.13", "0.99", "1.00"
    ]  # fmt: skip
    assert [attention_words.percentage(p) for p in (0, 0.005, 0.125, 0.994, 0.999)] == [
        "under 1\u00a0%", "1\u00a0%", "13\u00a0%", "99\u00a0%", "over 99\u00a0%"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text_or_tokens": "the Bat"}, r"‘Bat’ \(did you mean ‘bat’\?\)"),
        ({"text_or_tokens": "the " * 30}, r"at most 20 tokens \(the model's max_len\), got 31"),
        ({"text_or_tokens": ["the", "dragon"]}, r"text_or_tokens\[1\] must be a token of the vocabulary, got 'dragon'"),
        ({"text_or_tokens": ["the", 3]}, r"text_or_tokens\[1\] must be a str like the others, got 3"),
        ({"text_or_tokens": [1, 99]}, r"text_or_tokens\[1\] must be from 0 to the vocabulary's last id"),
        ({"text_or_tokens": 5}, "text_or_tokens must be"),
        ({"prefix_len": 7}, r"prefix_len must be from 0 to 6 \(the number of tokens\), got 7"),
        ({"prefix_len": 1.0}, "prefix_len must be a whole number"),
        ({"layer": 0}, r"layer must be from 1 to 2 \(the model's layers\), got 0"),
        ({"head": 5}, r"head must be from 1 to 4 \(the model's heads\), got 5"),
        ({"selected": 6}, r"selected must be from 0 to 5 \(the last token\), got 6"),
        ({"model": "gpt"}, "model must be a PrefixLM, got str"),
        ({"vocabulary": ["the"]}, "vocabulary must be a Vocabulary, got list"),
        ({"vocabulary": Vocabulary(["the"])}, "vocabulary must be the model's own: it has 47 tokens"),
    ],
)
def test_what_is_wrong_is_said(model, vocabulary, change, words):
    arguments = {"model": model, "vocabulary": vocabulary, "text_or_tokens": TEXT, "prefix_len": 3, **change}
    with pytest.raises((ValueError, TypeError), match=words):
        AttentionExplorer(**arguments)


def test_a_longer_text_than_can_be_shown_is_refused(vocabulary):
    with pytest.raises(ValueError, match=r"at most 96 tokens \(the most that can be shown\), got 101"):
        AttentionExplorer(random_model(len(vocabulary), max_len=200), vocabulary, "the " * 100, 3)


def test_a_model_whose_training_diverged_is_said_to_have(vocabulary):
    model = random_model(len(vocabulary))
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    before = explorer.describe()
    with torch.no_grad():
        model.embedding.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"not finite.*diverge"):
        explorer.refresh()
    with pytest.raises(ValueError, match=r"not finite.*diverge"):
        AttentionExplorer(model, vocabulary, TEXT, 3)
    ask(explorer, "q1", 5)
    assert "diverge" in explorer.problem
    assert (explorer.computed["request"], explorer.prefix_len) == ("q1", 3)
    assert explorer.describe() == before


def test_a_trait_that_cannot_be_is_refused_and_the_state_stays(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    before = explorer.describe()
    for name, value in {"prefix_len": 7, "layer": 3, "head": 0, "selected": 6, "text": "dragon"}.items():
        with pytest.raises(traitlets.TraitError, match=r"must be|‘dragon’"):
            setattr(explorer, name, value)
    for name in ("tokens", "computed", "weight_bytes"):
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, getattr(explorer, name))
    assert explorer.describe() == before


# -- what the browser asks


def ask(explorer, request, prefix_len, text=None):
    explorer._receive(None, {"type": "compute", "request": request, "text": text, "prefix_len": prefix_len}, [])


def test_the_browser_moves_the_boundary_and_edits_the_text(model, vocabulary):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    ask(explorer, "q1", 5)
    assert matches(explorer, model, [vocabulary.BOS, *vocabulary.encode(TEXT)], 5)
    assert explorer.computed["request"] == "q1"
    ask(explorer, "q2", 5, "a bat sees the fox .")
    assert matches(explorer, model, [vocabulary.BOS, *vocabulary.encode("a bat sees the fox .")], 5)
    assert (explorer.text, explorer.problem, explorer.computed["request"]) == ("a bat sees the fox .", "", "q2")
    ask(explorer, "q3", 6, "a Bat")
    assert explorer.problem == (  # and nothing of functions to call: a learner types into a field
        "The text has 1 word that this vocabulary of 6 words does not know: ‘Bat’ (did you mean ‘bat’?)."
    )
    assert (explorer.text, explorer.prefix_len, explorer.computed["request"]) == ("a bat sees the fox .", 6, "q3")
    ask(explorer, "q4", 2, "a bat")
    assert (explorer.problem, explorer.tokens) == ("", ["[BOS]", "a", "bat"])
    ask(explorer, "q5", 2, "the " * 30)
    assert "at most 20 tokens" in explorer.problem


@pytest.mark.parametrize(
    "content",
    [None, "compute", {"type": "other"}, {"type": "compute"}, {"type": "compute", "prefix_len": 99, "text": 3}],
)
def test_a_message_that_makes_no_sense_changes_nothing(model, vocabulary, content):
    explorer = AttentionExplorer(model, vocabulary, TEXT, 3)
    before = explorer.describe()
    explorer._receive(None, content, [])
    assert explorer.describe() == before


def test_the_boundary_follows_an_edit():
    def follow(before: str, boundary: int, after: str) -> int:
        return follow_edit(before.split(), boundary, after.split())

    assert follow("a b c d e", 2, "a b c d e f") == 2  # written on at the end
    assert follow("a b c d e", 2, "x a b c d e") == 3  # a word more in the prefix
    assert follow("a b c d e", 2, "b c d e") == 1  # one less
    assert follow("a b c d e", 4, "a e") == 1  # the words around the boundary are gone
    assert follow("a b c d e", 3, "v w x y z") == 3  # another text
    assert follow("a b c d e", 3, "v") == 1
    assert follow("", 0, "a b") == 0
    assert follow("a b", 2, "a b c") == 2


def test_without_a_kernel_there_is_a_picture(model, vocabulary):
    for text, P, selected in ((TEXT, 3, 1), ("", 1, 0), ([], 0, None), (TEXT, 0, None)):
        explorer = AttentionExplorer(model, vocabulary, text, P, selected=selected)
        assert explorer._repr_mimebundle_()[0]["image/png"].startswith("iVBOR")
        explorer.set_state({"selected": None})  # the browser has no query chosen
        assert explorer._repr_mimebundle_()[0]["image/png"].startswith("iVBOR")
