"""Read prompts, and what they share only once.

The prompts of a study differ only in their last words: the chat template, the instructions and the
topic come first. A batch is laid out as if padded on the left. The first `cut` positions of a row
hold its padding and the beginning of its prompt. Rows with the same beginning, or stem, get its
keys and values from a single reading. Only the positions after the cut are read for each prompt.
Stems share their own beginnings in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from representations.activations import pad
from representations.key_cache import has_only_keys
from representations.models.loading import LoadedModel
from representations.shared_attention import CannotShare, keep_once
from study.read import InputError

Tokens = tuple[int, ...]

#: How many cuts to try on a batch.
CUTS = 128


def stems(prompts: Sequence[Tokens], cut: int) -> tuple[list[Tokens], list[int]]:
    """Return the beginnings to read, and which of them holds each prompt's first positions.

    Parameters
    ----------
    prompts : sequence of tuple of int
    cut : int
        Number of first positions of the left-padded batch.

    Returns
    -------
    stems : list of tuple of int
        No stem is the beginning of another.
    which : list of int
        One per prompt.

    Examples
    --------
    >>> stems([(1, 2, 3, 4), (1, 2, 5), (9, 2, 3, 4)], cut=3)
    ([(9, 2, 3), (1, 2, 3)], [1, 1, 0])
    """
    longest = max(map(len, prompts))
    heads = [prompt[: max(cut - longest + len(prompt), 0)] for prompt in prompts]
    found: list[Tokens] = []
    which = [0] * len(prompts)
    # In this order, a head directly follows those that begin with it.
    for index in sorted(range(len(heads)), key=heads.__getitem__, reverse=True):
        if not found or found[-1][: len(heads[index])] != heads[index]:
            found.append(heads[index])
        which[index] = len(found) - 1
    return found, which


def best_cut(prompts: Sequence[Tokens]) -> int:
    """Return the cut with the fewest tokens to read; 0 if sharing does not save half of them.

    Examples
    --------
    >>> best_cut([(1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 7), (1, 2, 3, 4, 5, 8)])
    5
    >>> best_cut([(1, 2, 3), (4, 5, 6)])
    0
    """
    longest = max(map(len, prompts))
    costs = {
        cut: sum(map(len, stems(prompts, cut)[0])) + len(prompts) * (longest - cut)
        for cut in range(longest - 1, 0, -max(1, longest // CUTS))
    }
    best = min(costs, key=costs.__getitem__, default=0)
    return best if best and 2 * costs[best] <= len(prompts) * longest else 0


@torch.inference_mode()
def read_prompts(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    share: bool = True,
    more: int | None = None,
) -> tuple[Tensor, Any, Tensor]:
    """Read prompts up to the point where the model continues; read what they share once.

    Parameters
    ----------
    loaded : LoadedModel
    prompts : sequence of sequences of int
    share : bool
        Whether prompts that differ share the reading of equal beginnings; equal prompts always do.
    more : int, optional
        Let the cache keep what prompts share only once, with room for so many tokens per prompt.
        The model runs on it within `attention_to(cache)`. By default each prompt has a copy.

    Returns
    -------
    logits : Tensor, shape (prompts, vocabulary), float32
        For the token after each prompt.
    cache : transformers.Cache
        The keys and values of the prompts, padded on the left.
    mask : Tensor, shape (prompts, longest), int64
        1 for tokens, 0 for padding.

    Raises
    ------
    InputError
        If the model has no key-value cache.
    CannotShare
        If the cache should keep anything only once, and the model does not attend in that way.
    """
    asked = list(map(tuple, prompts))
    rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(asked))}
    if more is not None:
        if 2 * len(rows) <= len(asked):
            return _share_equal(loaded, asked, rows, share, more)
        if share and (cut := best_cut(asked)):
            return _share_stems(loaded, asked, cut, more)
    logits, cache, mask = _read_once(loaded, list(rows), share)
    if len(rows) < len(asked):
        if not has_only_keys(cache):
            return _read_once(loaded, asked, share)
        where = torch.tensor([rows[prompt] for prompt in asked], device=loaded.device)
        logits, mask = logits[where], mask[where]
        cache.batch_select_indices(where)
    return logits, cache, mask


def _share_equal(
    loaded: LoadedModel, asked: list[Tokens], rows: dict[Tokens, int], share: bool, more: int
) -> tuple[Tensor, Any, Tensor]:
    """Read prompts of which many are equal, and keep each of them once."""
    logits, cache, mask = _read_once(loaded, list(rows), share)
    cut = mask.shape[1]
    _check(cache, cut)
    where = torch.tensor([rows[prompt] for prompt in asked])
    keep_once(cache, where, torch.zeros_like(where), cut, more)
    return logits[where], cache, mask[where]


def _share_stems(
    loaded: LoadedModel, asked: list[Tokens], cut: int, more: int
) -> tuple[Tensor, Any, Tensor]:
    """Read prompts, and keep the stems of their first positions once."""
    cache, which, shift = read_stems(loaded, asked, cut)
    room = max(map(len, asked)) - cut + more
    with keep_once(cache, which, shift, cut, room) as beginnings:
        found = _read_rest(loaded, asked, cache, cut)
        beginnings.expect(None)
    return found


def _read_once(
    loaded: LoadedModel, prompts: Sequence[Tokens], share: bool
) -> tuple[Tensor, Any, Tensor]:
    """Read each prompt, after what it shares with others."""
    cut = best_cut(prompts) if share else 0
    try:
        before = _copies(*read_stems(loaded, prompts, cut), cut) if cut else None
    except CannotShare:
        before = None
    return _read_rest(loaded, prompts, before, cut if before is not None else 0)


def _read_rest(
    loaded: LoadedModel, prompts: Sequence[Tokens], before: Any, cut: int
) -> tuple[Tensor, Any, Tensor]:
    """Read what follows the first positions of left-padded prompts."""
    # An index, unlike the number 1, gives the head a copy of the last position. For a view, torch
    # reads the head's whole matrix once per prompt.
    longest = max(map(len, prompts))
    last = torch.tensor([longest - cut - 1], device=loaded.device)
    output, mask = _run(loaded, loaded.model, prompts, before, cut, logits_to_keep=last)
    cache = getattr(output, "past_key_values", None)
    if cache is None:
        raise InputError(
            f"model {loaded.spec.name!r}: {type(loaded.model).__name__} keeps no keys and values, "
            'which writing needs; let it read only, with methods = ["comprehension"]'
        )
    return output.logits[:, -1].float(), cache, mask


def read_stems(
    loaded: LoadedModel, prompts: Sequence[Tokens], cut: int
) -> tuple[Any, Tensor, Tensor]:
    """Read the stems of left-padded prompts.

    Parameters
    ----------
    loaded : LoadedModel
    prompts : sequence of tuple of int
    cut : int
        From `best_cut`.

    Returns
    -------
    cache : transformers.Cache
        The keys and values of the stems, padded on the left.
    which : Tensor, shape (prompts,), int64
        The stem of each prompt.
    shift : Tensor, shape (prompts,), int64
        The position of the batch at which the first column of a prompt's stem lies.

    Raises
    ------
    CannotShare
        For a model whose cache holds something other than keys and values, or no longer holds
        those of the first tokens.
    """
    heads, which = stems(prompts, cut)
    first = best_cut(heads)
    before = _copies(*read_stems(loaded, heads, first), first) if first else None
    try:
        output, _ = _run(loaded, loaded.body, heads, before, first)
    except InputError as error:
        raise CannotShare("a body that takes other inputs than its model") from error
    cache: Any = getattr(output, "past_key_values", None)
    longest_head, longest = max(map(len, heads)), max(map(len, prompts))
    _check(cache, longest_head)
    places = [
        (longest - len(prompt)) - (longest_head - len(heads[stem]))
        for prompt, stem in zip(prompts, which, strict=True)
    ]
    return cache, torch.tensor(which), torch.tensor(places)


def _check(cache: Any, length: int) -> None:
    """Raise CannotShare unless a cache holds keys and values of all positions and no more."""
    if not has_only_keys(cache) or any(
        layer.get_seq_length() != length or layer.keys.shape[-2] != length for layer in cache.layers
    ):
        raise CannotShare("a cache of another kind")


def _copies(cache: Any, which: Tensor, shift: Tensor, cut: int) -> Any:
    """Give every prompt a copy of its stem's keys and values, at its place."""
    length = cache.layers[0].keys.shape[-2]
    place = (torch.arange(cut) - shift[:, None]).clamp(0, length - 1)
    for layer in cache.layers:
        moved = [
            part.transpose(1, 2)[which[:, None].to(part.device), place.to(part.device)]
            for part in (layer.keys, layer.values)
        ]
        layer.reset()
        layer.update(*(part.transpose(1, 2) for part in moved))
    return cache


def _run(
    loaded: LoadedModel,
    part: nn.Module,
    prompts: Sequence[Tokens],
    before: Any,
    cut: int,
    **options: Any,
) -> tuple[Any, Tensor]:
    """Run a model or its body on left-padded prompts after the cut; return its output and mask."""
    ids, mask = pad(prompts, loaded.tokenizer.pad_token_id, "left")
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    output = loaded.run(
        part,
        input_ids=ids[:, cut:],
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, cut:],
        past_key_values=before,
        use_cache=True,
        **options,
    )
    return output, mask
