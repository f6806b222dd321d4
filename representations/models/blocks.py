"""Find a model's transformer blocks, and count the parameters of its language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from study.read import InputError


def find_blocks(model: Any, path: str = "") -> tuple[nn.Module, nn.ModuleList]:
    """Find the transformer blocks in the module tree, and the body that contains them.

    The blocks are the list of modules that has the length in the text config and the same parent
    as the input embedding. This rule skips vision towers and the like.

    Parameters
    ----------
    model : PreTrainedModel
    path : str
        The dotted path of the block list, if known.

    Returns
    -------
    body : Module
        The module whose forward pass runs the embedding and all blocks.
    blocks : ModuleList

    Raises
    ------
    InputError
        If no list fits, or more than one.
    """
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:  # how the library reports a model that takes no text
        raise InputError(f"{type(model).__name__} has no embedding for a text's tokens") from None
    parents = {id(child): parent for parent in model.modules() for child in parent.children()}
    if path:
        try:
            blocks = model.get_submodule(path)
        except AttributeError:
            raise InputError(f"{type(model).__name__} has no module blocks = {path!r}") from None
        if not isinstance(blocks, nn.ModuleList):
            raise InputError(f"blocks = {path!r} of {type(model).__name__} is not a module list")
        return _body(model, blocks, parents), blocks
    text = model.config.get_text_config()
    lengths = [getattr(text, name, 0) for name in ("num_hidden_layers", "num_layers")]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    # LongCat's config counts attention layers, of which each block has two.
    lists = next(filter(None, ([m for m in found if len(m) == n] for n in lengths)), [])
    length = lengths[0]
    beside = parents.get(id(embedding))
    fits = [m for m in lists if parents[id(m)] is beside] or lists
    if len(fits) != 1:
        raise InputError(
            f"{type(model).__name__}: {len(fits)} lists of {length} modules could be its blocks; "
            'set blocks = "dotted.path" in its [[model]] entry'
        )
    return _body(model, fits[0], parents), fits[0]


def _body(model: Any, blocks: nn.ModuleList, parents: Mapping[int, nn.Module]) -> nn.Module:
    """Return the smallest module that contains both the blocks and the input embedding."""
    embedding, body = model.get_input_embeddings(), parents[id(blocks)]
    while id(body) in parents and all(part is not embedding for part in body.modules()):
        body = parents[id(body)]
    return body


def parameter_count(model: Any, body: nn.Module) -> int:
    """Count the parameters of the language model, without towers for images or sound.

    Parameters
    ----------
    model : PreTrainedModel
    body : Module
        Its embedding and blocks, as returned by `find_blocks`.

    Returns
    -------
    int
        Parameters of the body and of both embeddings; shared parameters count once.
    """
    if getattr(model, "is_quantized", False):  # several parameters share a byte
        with torch.device("meta"):
            model = type(model)(model.config)
        body = find_blocks(model)[0]
    parts = (body, model.get_input_embeddings(), _head(model, body))
    found = {id(p): p.numel() for part in parts if part is not None for p in part.parameters()}
    return sum(found.values())


def _head(model: Any, body: nn.Module) -> Any:
    """Return the output embedding: the model's own, or that of a language model within it."""
    for part in model.modules():
        if hasattr(part, "get_output_embeddings") and any(m is body for m in part.modules()):
            head = part.get_output_embeddings()
            if head is not None:
                return head
    return None
