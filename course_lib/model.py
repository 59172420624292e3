"""A prefix language model, from the token ids to the next token.

One stack of Transformer blocks reads the prefix and writes the target. It is a decoder in all but one thing: the first
P tokens, the prefix, all see each other, where a decoder would let each see the past alone. That is the mask's doing
(`Visibility`); no weight knows of it, and the same weights run with any P.

    tokens        the   cat   sat   on    the   mat
    role          prefix ----------  target ---------     P = 3
    seen by it    0..2  0..2  0..2  0..3  0..4  0..5
    foretells     -     -     on    the   mat   (end)     the last prefix token foretells the first target

Shapes: tokens (B, T), logits (B, T, vocab_size).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import check_device, short, shown, usable_device
from .cache import KVCache
from .checkpoint import check_as_made, load_checkpoint, save_checkpoint
from .config import POSITIONS, Config
from .decoding_cache import DecodingCache
from .generation import Step, evaluating, generate
from .layers import BLOCKS, NORMS
from .loss import default_loss_mask, masked_loss
from .masks import Visibility
from .positions import LearnedPositions, check_ids, check_positions, document_positions
from .state_cache import StateCache
from .vocabulary import Vocabulary, check_vocabulary

__all__ = ["POSITIONS", "Config", "PrefixLM"]


class PrefixLM(nn.Module):
    """A prefix language model. Source: Raffel et al. 2020 (T5), section 3.2.1, "prefix LM"."""

    def __init__(self, config: Config):
        super().__init__()
        if not isinstance(config, Config):
            raise TypeError(f"config must be a Config, got {shown(config)}")
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        tables = {"learned": 1, "glm": 2}.get(config.positions, 0)
        self.learned_positions = nn.ModuleList(LearnedPositions(config.max_len, config.dim) for _ in range(tables))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            BLOCKS[config.block](
                config.dim,
                heads=config.heads,
                head_dim=config.head_dim,
                hidden=config.hidden,
                kv_heads=config.kv_heads,
                rotary=config.rotary,
                norm=config.norm,
                mlp=config.mlp,
                dropout=config.dropout,
                attention=config.attention,
                attention_choices=config.attention_choices,
            )
            for _ in range(config.layers)
        )
        self.norm = NORMS[config.norm](config.dim)
        self.head = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:  # GPT-2's: what adds to the residual stream starts smaller, the deeper the stack
                adds = name.endswith(("output.weight", "down.weight", "out_proj.weight"))
                nn.init.normal_(weight, std=0.02 * ((2 * config.layers) ** -0.5 if adds else 1))

    def forward(
        self,
        tokens: Tensor,
        prefix_len,
        *,
        targets: Tensor | None = None,
        loss_mask: Tensor | None = None,
        lengths=None,
        document_lens=None,
        positions: Tensor | None = None,
        block_positions: Tensor | None = None,
        cache: KVCache | StateCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the logits (B, T, vocab_size), and the mean loss of the targets if they are given, else None.

        tokens         (B, T), ids.
        prefix_len     P: int, or one per example (B,), or one per packed document; each 0..T. 0 is a causal language
                       model, T reads without writing.
        targets        (B, T), ids, aligned: logits[:, i] is scored against targets[:, i]. Nothing is shifted here: of
                       a text of T + 1 tokens, tokens = text[:-1] and targets = text[1:]. Where no loss falls, they may
                       hold anything.
        loss_mask      bool (T,) or (B, T): which rows carry loss; unless given, rows i >= P - 1 (`default_loss_mask`).
                       If it is False everywhere, the loss is 0, and so are all gradients.
        lengths        (B,): example b has that many tokens, then padding, which touches nothing.
        document_lens  lengths of the documents packed in a row, or a list of such lists; see `Visibility`.
        positions      (T,) or (B, T), each below max_len; unless given they begin at 0, in each document anew.
        block_positions   likewise, for a model that has them (positions="glm" or "glm_rotary"); 0 unless given.
        cache          the tokens go on where it ends, and lengths count these tokens only. Not differentiable.

        On an accelerator, checking ids waits for the device, and so does a cache.
        """
        if targets is None and loss_mask is not None:
            raise ValueError("loss_mask is of no use without targets")
        if targets is not None and cache is not None:
            raise ValueError("targets and cache exclude each other: what a cache keeps is not differentiable")
        seen = Visibility(prefix_len, lengths, document_lens)
        with torch.set_grad_enabled(torch.is_grad_enabled() and cache is None):
            places = {"positions": positions, "block_positions": block_positions}
            logits = self.logits(self.hidden(tokens, seen, **places, cache=cache))
        if targets is None:
            return logits, None
        if loss_mask is None:
            loss_mask = default_loss_mask(seen, tokens.shape[1], device=tokens.device)
        return logits, masked_loss(logits, targets, loss_mask)

    def hidden(
        self,
        tokens: Tensor,
        seen: Visibility,
        *,
        positions=None,
        block_positions=None,
        cache: KVCache | StateCache | None = None,
    ) -> Tensor:
        """Return what the last layer says of each token, normed, (B, T, dim).

        seen: the `Visibility` that `forward` makes of prefix_len, lengths and document_lens; the rest is as there.
        """
        positions = self._check(tokens, seen, positions, block_positions)
        if cache is not None and not isinstance(cache, DecodingCache):
            raise TypeError(f"cache must be a KVCache or a StateCache, got {shown(cache)}")
        if cache is not None and cache.model is not self:
            raise ValueError("cache must be one that was made for this model: what it holds comes from other weights")
        call = None if cache is None else cache.begin(tokens, seen, positions)
        mask, positions = self._placed(tokens, seen, positions) if call is None else (call.mask, call.positions)
        x = self.embed(tokens, positions)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, positions=positions, cache=None if call is None else call.layer(i, x))
        x = self.norm(x)
        if call is not None:
            call.finish(x)
        return x

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return what the first layer is given, (B, T, dim)."""
        x = self.embedding(tokens.long())  # a table takes no shorter integers
        kinds = positions.unbind(-1) if self.config.has_blocks else [positions]
        for table, ids in zip(self.learned_positions, kinds, strict=False):  # no tables where they are rotary
            x = x + table(ids)
        return self.dropout(x)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token, (..., vocab_size), for x (..., dim) of `hidden`."""
        return F.linear(x, self.embedding.weight if self.head is None else self.head.weight)

    def attention_weights(
        self, tokens: Tensor, prefix_len, *, lengths=None, document_lens=None, positions=None, block_positions=None
    ) -> list:
        """Return who looks at whom, and how much: for each layer (B, heads, T, T), rows are queries. For pictures.

        ValueError for attention = "jrt", where a token is weighed twice.
        """
        seen, weights = Visibility(prefix_len, lengths, document_lens), []
        positions = self._check(tokens, seen, positions, block_positions)
        mask, positions = self._placed(tokens, seen, positions)
        with evaluating(self):
            x = self.embed(tokens, positions)
            for block in self.blocks:
                weights.append(block.attention_weights(x, mask, positions=positions))
                x = block(x, mask, positions=positions)
        return weights

    def generate(
        self,
        prompt,
        max_new_tokens: int,
        *,
        prefix_len=None,
        lengths=None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop_id: int | None = None,
    ) -> Iterator[Step]:
        """Write on from a prompt: an iterator that gives one `Step` a token, as soon as there is one.

        prompt      ids: a list or (T,), or a batch (B, T), padded on the right if `lengths` (B,) says so.
        prefix_len  how much of the prompt is prefix, int or (B,); all of it unless given.
        seed        the same seed draws the same tokens; None draws from torch's own random state.
        stop_id     an example ends with this id, the iterator when all have ended, or after max_new_tokens.
        temperature, top_k, top_p   see `next_token_probs`; temperature 0 always takes the likeliest token.

        All is checked at once, before the first token is asked for. Dropout is off.
        """
        choose = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return generate(
            self, prompt, max_new_tokens, prefix_len=prefix_len, lengths=lengths, seed=seed, stop_id=stop_id, **choose
        )

    def save(self, path, *, vocabulary: Vocabulary | None = None) -> None:
        """Write the config and the weights to a file, and with them the fingerprint of the vocabulary, if given.

        ValueError for a model with other weights than its config says: `load` could not make it again.
        """
        check_as_made(self, PrefixLM)
        about = {} if vocabulary is None else {"vocabulary": self.check_vocabulary(vocabulary).fingerprint}
        save_checkpoint(path, self.config, self.state_dict(), about=about)

    @classmethod
    def load(
        cls, path, *, config: Config | None = None, vocabulary: Vocabulary | None = None, device=None
    ) -> "PrefixLM":
        """Read what `save` wrote, on the CPU unless device is given.

        ValueError, naming the file, if it is damaged, foreign, not of this config, or was not saved with this
        vocabulary; and for a device that torch cannot use here.
        """
        vocabulary = None if vocabulary is None else check_vocabulary(vocabulary)
        device = usable_device("device", device)
        return load_checkpoint(path, cls, Config, config, vocabulary).to(device)

    def check_vocabulary(self, vocabulary) -> Vocabulary:
        """Return a vocabulary that has an id for each row of the model's table; TypeError or ValueError otherwise."""
        if len(check_vocabulary(vocabulary)) != self.config.vocab_size:
            raise ValueError(
                f"vocabulary must be the model's own: it has {len(vocabulary)} tokens, and the model's vocab_size is "
                f"{self.config.vocab_size}"
            )
        return vocabulary

    def check_tokens(self, name: str, tokens, seen: Visibility) -> None:
        """Refuse what this model cannot read, under the name that the caller gave it; and lengths of another batch."""
        check_ids(name, tokens, self.config.vocab_size, "vocab_size")
        check_device(name, tokens, self.embedding.weight.device)
        if tokens.dim() != 2:
            raise ValueError(f"{name} must be (batch, length), got shape {tuple(tokens.shape)}")
        if not isinstance(seen, Visibility):
            raise TypeError(f"seen must be a Visibility, got {shown(seen)}")
        batch, total = tokens.shape
        if total > self.config.max_len:
            raise ValueError(f"{name} must be at most max_len = {self.config.max_len} long, got {short(total)}")
        if seen.batch_size not in (None, batch):
            raise ValueError(f"prefix_len and lengths tell of {seen.batch_size} examples, but {name} are of {batch}")

    def _placed(self, tokens: Tensor, seen: Visibility, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return who sees whom, and where each token stands, for rows that are read as a whole."""
        total = tokens.shape[1]
        seen.check(total, "the length of tokens")
        if positions is None:
            documents = (total,) if seen.document_lens is None else seen.document_lens
            positions = document_positions(documents, total, device=tokens.device)
            if self.config.has_blocks:
                positions = _with_blocks(positions, torch.zeros_like(positions), tokens.shape)
        linear = self.config.attention != "softmax"  # its kernels need no mask, and would not want T^2 bytes
        return seen if linear else seen.mask(total, device=tokens.device), positions

    def _check(self, tokens: Tensor, seen: Visibility, positions=None, block_positions=None) -> Tensor | None:
        """Refuse what does not fit; return the positions as the layers take them, (B, T, 2) if there are blocks."""
        self.check_tokens("tokens", tokens, seen)
        batch, total = tokens.shape
        for name, ids in (("positions", positions), ("block_positions", block_positions)):
            if ids is not None:
                check_positions(ids, batch, total, name)
                check_ids(name, ids, self.config.max_len, "max_len")
                check_device(name, ids, tokens.device)
        if block_positions is None and (positions is None or not self.config.has_blocks):
            return positions
        if not self.config.has_blocks:
            raise ValueError(f"block_positions must be None: this model's positions are {self.config.positions!r}")
        if positions is None:
            raise ValueError("block_positions need positions beside them, got None")
        blocks = torch.zeros_like(positions) if block_positions is None else block_positions
        return _with_blocks(positions, blocks, tokens.shape)


def _with_blocks(positions: Tensor, block_positions: Tensor, shape) -> Tensor:
    """Lay the two side by side, (B, T, 2)."""
    return torch.stack([one.expand(shape) for one in (positions, block_positions)], dim=-1)
