"""Measure a text: repetition, script, and perplexity under a model."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from representations.activations import halving, pad, residual_stream
from representations.models.loading import LoadedModel
from representations.prompt_cache import read_prompts

#: Maximum number of logits in memory; batches are smaller for large vocabularies.
LOGITS = 60_000_000


def distinct_n(tokens: Sequence[Hashable], n: int) -> float:
    """Return the share of distinct n-grams in a text.

    Parameters
    ----------
    tokens : sequence
    n : int

    Returns
    -------
    float
        1 if nothing is repeated; NaN for a text with fewer than n tokens.

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
    """Return the perplexities of continuations, and the norms of the residual stream.

    Parameters
    ----------
    loaded : LoadedModel
    prompts, continuations : sequence of sequences of int
        Tokens; a continuation may be empty.
    max_texts : int
        Texts per batch, or fewer for a large vocabulary. A batch that does not fit in memory is
        halved.
    progress : callable
        Called with the number of tokens read, after each batch.

    Returns
    -------
    perplexities : list of float
        exp of the mean negative log-likelihood of the continuation's tokens given the prompt;
        NaN for an empty one.
    norms : list of float
        Per layer, from 0, the mean Euclidean norm of the residual stream at the tokens of the
        continuations; NaN if all are empty.

    Notes
    -----
    Tokens of the prompt count in neither. Norms are those of single tokens, which are larger than
    the norm of the mean over a text's tokens.
    """
    found = [float("nan")] * len(prompts)
    sums, count = torch.zeros(loaded.n_layers + 1, dtype=torch.float64), 0
    order = [i for i in range(len(prompts)) if continuations[i]]
    # Keep texts with the same prompt together: a batch then reads few different prompts.
    order.sort(key=lambda i: (len(prompts[i]), tuple(prompts[i]), len(continuations[i])))
    vocabulary = loaded.model.config.get_text_config().vocab_size
    longest = max(map(len, continuations), default=0)
    size = max(1, min(max_texts, LOGITS // (vocabulary * max(longest, 1))))

    def do(batch: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        texts = [continuations[i] for i in batch]
        first, cache, before = read_prompts(loaded, [prompts[i] for i in batch])
        ids, own = pad(texts, loaded.tokenizer.pad_token_id, "right")
        inside = own.bool()
        norms: dict[int, Tensor] = {}

        def measure(layer: int, hidden: Tensor) -> None:
            norms[layer] = hidden.float().norm(dim=-1).cpu()[inside].double().sum()

        mask = torch.cat([before, own.to(before.device)], dim=1)
        with residual_stream(loaded.blocks, measure):
            logits = loaded.run(
                loaded.model,
                input_ids=ids.to(loaded.device),
                attention_mask=mask,
                position_ids=(mask.cumsum(dim=1) - 1)[:, before.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            ).logits
        # The prompt predicts the first token, and each token the next one.
        likelihood = torch.cat(
            [
                log_likelihood(first[:, None], ids[:, :1]),
                log_likelihood(logits[:, :-1], ids[:, 1:]),
            ],
            dim=1,
        )
        return likelihood, inside, torch.stack([norms[n] for n in range(loaded.n_layers + 1)])

    batches = [order[i : i + size] for i in range(0, len(order), size)]
    for batch, (likelihood, inside, lengths) in halving(batches, do, loaded):
        for row, index in enumerate(batch):
            found[index] = float((-likelihood[row][inside[row]].mean()).exp())
        sums += lengths
        count += int(inside.sum())
        progress(int(inside.sum()))
    return found, (sums / count if count else sums * float("nan")).tolist()


def log_likelihood(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-likelihood of tokens, shape (batch, positions), on the CPU.

    Parameters
    ----------
    logits : Tensor, shape (batch, positions, vocabulary)
    tokens : Tensor, shape (batch, positions), int64
    """
    chosen = logits.gather(2, tokens.unsqueeze(2).to(logits.device)).squeeze(2).float()
    return (chosen - logits.float().logsumexp(dim=2)).cpu()
