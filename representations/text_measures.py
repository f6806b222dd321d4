"""What a text is like, whoever wrote it: repetition, script, and how a model expects it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from representations.activations import pad, residual_stream
from representations.models import LoadedModel

#: Logits held at once; a batch is made as small as the vocabulary needs.
LOGITS = 60_000_000


def distinct_n(tokens: Sequence[Hashable], n: int) -> float:
    """Return the share of a text's n-grams that are different from one another.

    Parameters
    ----------
    tokens : sequence
    n : int

    Returns
    -------
    float
        1 where nothing is repeated; NaN for a text of fewer than n tokens.

    References
    ----------
    Li, J. et al. (2016). A diversity-promoting objective function for neural conversation models.
    NAACL-HLT 2016, 110-119.

    Examples
    --------
    >>> distinct_n("abab", 2)
    0.6666666666666666
    """
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def share_non_ascii(text: str) -> float:
    """Return the share of a text's characters that are not ASCII; 0 for an empty text."""
    return sum(not c.isascii() for c in text) / max(len(text), 1)


def share_foreign_script(text: str) -> float:
    """Return the share of a text's letters that are not Latin; 0 for a text without letters.

    Examples
    --------
    >>> share_foreign_script("à bas 北京")
    0.3333333333333333
    """
    letters = [c for c in text if c.isalpha()]
    return sum("LATIN" not in unicodedata.name(c, "") for c in letters) / max(len(letters), 1)


@torch.inference_mode()
def perplexity(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    max_texts: int = 32,
    progress: Callable[[int], object] = lambda tokens: None,
) -> tuple[list[float], list[float]]:
    """Return how unexpected continuations are to a model, and how long its residual stream is.

    Parameters
    ----------
    loaded : LoadedModel
    prompts, continuations : sequence of sequences of int
        Tokens; a continuation may be empty.
    max_texts : int
        Texts in a batch, or fewer for a large vocabulary.
    progress : callable
        Called with the number of tokens read, after each batch.

    Returns
    -------
    perplexities : list of float
        exp of the mean negative log-likelihood of the continuation's tokens given the prompt;
        NaN for an empty one.
    norms : list of float
        For each layer, from 0, the mean Euclidean norm of the residual stream at the
        continuations' tokens; NaN where all are empty.

    Notes
    -----
    The prompt's tokens count in neither. Norms are of single tokens, which are longer than the
    mean over a text's tokens.
    """
    found = [float("nan")] * len(prompts)
    sums, count = torch.zeros(loaded.n_layers + 1, dtype=torch.float64), 0
    order = [i for i in range(len(prompts)) if continuations[i]]
    order.sort(key=lambda i: len(continuations[i]))
    while order:
        longest = max(len(continuations[i]) for i in order[:max_texts])
        vocabulary = loaded.model.config.get_text_config().vocab_size
        size = max(1, min(max_texts, LOGITS // (vocabulary * (longest + 1))))
        batch, order = order[:size], order[size:]
        longest = max(len(continuations[i]) for i in batch)
        texts = [[*prompts[i], *continuations[i]] for i in batch]
        ids, mask = pad(texts, loaded.tokenizer.pad_token_id, "left")
        own = torch.tensor([[longest - k <= len(continuations[i]) for k in range(longest)]
                            for i in batch])  # fmt: skip
        norms: dict[int, Tensor] = {}

        def measure(
            layer: int, hidden: Tensor, own: Tensor = own, norms: dict[int, Tensor] = norms
        ) -> None:
            lengths = hidden[:, -own.shape[1] :].float().norm(dim=-1).cpu()
            norms[layer] = lengths[own].double().sum()

        with residual_stream(loaded.blocks, measure):
            logits = loaded.model(
                input_ids=ids.to(loaded.device),
                attention_mask=mask.to(loaded.device),
                position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0).to(loaded.device),
                use_cache=False,
                logits_to_keep=longest + 1,
            ).logits[:, :-1]
        target = ids[:, -longest:].to(logits.device)
        chosen = logits.gather(2, target.unsqueeze(2)).squeeze(2).float()
        likelihood = (chosen - logits.float().logsumexp(dim=2)).cpu()
        for row, index in enumerate(batch):
            found[index] = float((-likelihood[row][own[row]].mean()).exp())
        sums += torch.stack([norms[layer] for layer in range(loaded.n_layers + 1)])
        count += int(own.sum())
        progress(int(mask.sum()))
    return found, (sums / count if count else sums * float("nan")).tolist()
