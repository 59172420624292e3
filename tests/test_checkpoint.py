"""Checkpoints come back bit for bit, or are refused by name."""

import dataclasses
import json
import os
import pickle
import re
import resource
import stat
import zipfile

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

from course_lib.checkpoint import digest, save_checkpoint
from course_lib.model import Config, PrefixLM
from course_lib.training import Run
from course_lib.vocabulary import Vocabulary

CONFIG = Config(vocab_size=7, dim=8, layers=2, heads=2, max_len=16)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = PrefixLM(CONFIG)
    model.save(tmp_path / "model.pt")
    return model, tmp_path / "model.pt"


def refused(path, words, **kwargs):
    with pytest.raises(ValueError, match=words) as caught:
        PrefixLM.load(path, **kwargs)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"tied": False, "positions": "learned", "norm": "layernorm", "mlp": "gelu"}])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype, changes):
    model = PrefixLM(dataclasses.replace(CONFIG, **changes)).to(dtype)
    model.save(tmp_path / "model.pt")
    random_state = torch.get_rng_state()
    again = PrefixLM.load(str(tmp_path / "model.pt"), config=model.config)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert again.config == model.config
    tokens = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(again(tokens, 2)[0], model(tokens, 2)[0])
    again(tokens, 2, targets=tokens)[1].backward()  # it can be trained on
    assert all(weight.grad is not None for weight in again.parameters())


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(saved):
    model, path = saved
    with torch.no_grad():
        model.embedding.weight.add_(1)
    model.save(path)
    assert torch.equal(PrefixLM.load(path).embedding.weight, model.embedding.weight)
    assert os.listdir(path.parent) == [path.name]


def test_a_model_with_sizes_of_numpys_comes_back(tmp_path):
    sizes = {name: np.int64(value) for name, value in {"vocab_size": 7, "dim": 8, "layers": 1, "heads": 2}.items()}
    model = PrefixLM(Config(**sizes, hidden=np.int32(8), value_dim=np.int8(4), dropout=np.float64(0.1)))
    model.save(tmp_path / "model.pt")
    assert PrefixLM.load(tmp_path / "model.pt").config == model.config
    Run(model, lambda step: None, steps=1).record.to_json()


@dataclasses.dataclass
class Odd:
    size: object


def test_what_could_never_be_read_again_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="int64 is not JSON serializable"):
        save_checkpoint(tmp_path / "odd.pt", Odd(np.int64(3)), {})
    assert os.listdir(tmp_path) == []


WORDS = Vocabulary(["a", "b"], sentinels=1)


def test_a_model_knows_its_vocabulary_again(tmp_path):
    model, path = PrefixLM(dataclasses.replace(CONFIG, vocab_size=len(WORDS))), tmp_path / "model.pt"
    model.save(path, vocabulary=WORDS)
    PrefixLM.load(path)
    again = PrefixLM.load(path, vocabulary=Vocabulary(["a", "b"], sentinels=1))
    assert torch.equal(again.embedding.weight, model.embedding.weight)
    refused(path, "was saved with another vocabulary", vocabulary=Vocabulary(["b", "a"], sentinels=1))  # of one size
    rewritten(path, about={"vocabulary": Vocabulary(["b", "a"], sentinels=1).fingerprint})
    refused(path, "was changed after it was written")
    model.save(path)
    refused(path, "was saved without saying with which vocabulary", vocabulary=WORDS)
    with pytest.raises(
        ValueError, match=r"vocabulary must be the model's own: it has 18 tokens, and the model's .* 17"
    ):
        model.save(path, vocabulary=Vocabulary(["a", "b", "c"], sentinels=1))
    with pytest.raises(ValueError, match="device must be a device that torch can use here, got 'gpu'"):
        PrefixLM.load(path, device="gpu")
    for call in (model.save, PrefixLM.load):
        with pytest.raises(TypeError, match=r"vocabulary must be a Vocabulary, got \['a'\]"):
            call(path, vocabulary=["a"])


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    model, path = saved
    before = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_model_that_load_could_not_make_is_not_saved(saved, tmp_path):
    def wider(model):
        model.embedding = torch.nn.Embedding(9, 8)

    for change in (lambda model: weight_norm(model.blocks[0].mlp.down), wider):
        model = PrefixLM(CONFIG)
        change(model)
        with pytest.raises(ValueError, match="saved if it is as its config makes one, but its layers were replaced"):
            model.save(tmp_path / "model.pt")
    assert torch.equal(PrefixLM.load(tmp_path / "model.pt").embedding.weight, saved[0].embedding.weight)


def test_a_link_stays_one_and_a_file_keeps_its_permissions(saved, tmp_path):
    model, path = saved
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    with torch.no_grad():
        model.embedding.weight.add_(1)
    model.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert torch.equal(PrefixLM.load(path).embedding.weight, model.embedding.weight)
    path.unlink()
    model.save(link)  # a link to nothing makes what it leads to
    assert sorted(os.listdir(tmp_path)) == ["link", "model.pt"]


def test_only_a_file_is_replaced(saved, tmp_path):
    model, _ = saved
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    before = sorted(os.listdir(tmp_path))
    for name in ("pipe", "folder", "link"):
        with pytest.raises(ValueError, match=f"path = '.*{name}': must be the name of a file, but what is there is no"):
            model.save(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("name", "error"), [("nowhere/m", FileNotFoundError), ("model.pt/m", NotADirectoryError), ("m" * 255, OSError)]
)
def test_what_cannot_be_written_is_named_as_it_was_given(saved, tmp_path, name, error):
    model, _ = saved
    with pytest.raises(error) as caught:
        model.save(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert os.listdir(tmp_path) == ["model.pt"]


def test_a_full_disk_is_named_as_one(saved):
    _, path = saved
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    model = PrefixLM(Config(vocab_size=20, dim=64, layers=2, heads=4))  # larger than what is collected before a write
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/model\.pt'"):
            model.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_another_config_is_named_field_by_field(saved):
    _, path = saved
    wanted = dataclasses.replace(CONFIG, dim=16, head_dim=8, hidden=48, positions="learned")
    refused(
        path, "dim is 8 and not 16, head_dim is 4 and not 8.*positions is 'rotary' and not 'learned'", config=wanted
    )


def test_the_wanted_config_is_a_config(saved):
    for wrong in ({}, "small", CONFIG.__dict__):
        with pytest.raises(TypeError, match="config must be a Config or None, got "):
            PrefixLM.load(saved[1], config=wrong)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(saved, share):
    _, path = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "is no checkpoint, or a damaged one")


def test_a_flipped_bit_in_any_weight(saved):
    _, path = saved
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = [info for info in archive.infolist() if "/data/" in info.filename]
    assert len(data) == len(PrefixLM(CONFIG).state_dict())
    for info in data:
        name_len, extra_len = (
            content[info.header_offset + at] + 256 * content[info.header_offset + at + 1] for at in (26, 28)
        )
        place = info.header_offset + 30 + name_len + extra_len + info.file_size // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(path, "damaged|was changed after it was written")


def rewritten(path, **changes):
    content = torch.load(path, weights_only=True)
    content.update(changes)
    torch.save(content, path)
    return content


def test_what_was_edited_is_found_out(saved):
    _, path = saved
    content = torch.load(path, weights_only=True)
    rewritten(path, state={**content["state"], "norm.weight": content["state"]["norm.weight"] + 1})
    refused(path, "was changed after it was written")
    rewritten(path, state=content["state"], config={**content["config"], "heads": 4})
    refused(path, "was changed after it was written")
    rewritten(path, config=content["config"])
    PrefixLM.load(path)  # as it was


def test_even_with_a_new_digest_all_must_fit(saved):
    _, path = saved
    content = torch.load(path, weights_only=True)
    config, state = content["config"], content["state"]

    def forged(config, state):
        rewritten(path, config=config, state=state, digest=digest(config, state))

    forged({**config, "hidden": 25}, state)
    refused(path, "weights that do not fit its config(?s:.)*size mismatch")
    forged(config, {name: value for name, value in state.items() if name != "norm.weight"})
    refused(path, "weights that do not fit its config(?s:.)*norm.weight")
    forged({**config, "attention": "hard"}, state)
    refused(path, "holds no valid config: attention must be one of softmax, linear, jrt, gated, got 'hard'")
    rewritten(path, config={**config, "dim": torch.zeros(2)})
    refused(path, "holds something that no checkpoint holds")
    forged({**config, "wings": 2}, state)
    refused(path, "holds no valid config.*wings")


def test_files_of_others(saved, tmp_path):
    model, path = saved
    rewritten(path, version=99)
    refused(path, "is a checkpoint of version 99, only 1 can be read")
    other = tmp_path / "other"
    torch.save(model.state_dict(), other)
    refused(other, "is a torch file, but no checkpoint of format 'course_lib.PrefixLM'")
    torch.save(torch.zeros(3), other)
    refused(other, "is a torch file, but no checkpoint")
    for content in (b"", b"once upon a time", json.dumps({"a": 1}).encode(), b"PK\x03\x04"):
        other.write_bytes(content)
        refused(other, "is no checkpoint, or a damaged one")
    torch.save({"a": np.zeros(3)}, other)  # torch answers with advice, in colours of a terminal
    with pytest.raises(ValueError, match=r"torch says: [ -~]*$") as caught:
        PrefixLM.load(other)
    assert "trust" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "nowhere"))):
        PrefixLM.load(tmp_path / "nowhere")


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def test_nothing_in_the_file_is_executed(tmp_path, monkeypatch):
    crater = tmp_path / "crater"
    monkeypatch.setenv("BOMB", str(crater))
    torch.save({"format": "course_lib.PrefixLM", "config": Bomb()}, tmp_path / "zip")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb()))
    for name in ("zip", "pickle"):
        refused(tmp_path / name, "is no checkpoint, or a damaged one")
    assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert crater.exists()  # so it would have gone off
