"""Where the transformer blocks are in a model's tree of modules, and how large what is read is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from study.read import InputError


def find_blocks(model: Any, path: str = "") -> tuple[nn.Module, nn.ModuleList]:
    """Find the transformer blocks in the module tree, and the body that holds them.

    The blocks are the list of modules, as long as the text config says, that stands beside the
    input embedding; vision towers and their like are thereby passed over.

    Parameters
    ----------
    model : PreTrainedModel
    path : str
        The dotted path of the block list, where it is known.

    Returns
    -------
    body : Module
        The module whose forward pass runs the embedding and all blocks.
    blocks : ModuleList

    Raises
    ------
    InputError
        If no list, or no single list, fits.
    """
    try:
        embedding = model.get_input_embeddings()
    except NotImplementedError:  # says the library of a model that takes no text
        raise InputError(f"{type(model).__name__} has no embedding for a text's tokens") from None
    parents = {id(child): parent for parent in model.modules() for child in parent.children()}
    if path:
        try:
            blocks = model.get_submodule(path)
        except AttributeError:
            raise InputError(f"blocks = {path!r} is no module of {type(model).__name__}") from None
        if not isinstance(blocks, nn.ModuleList):
            raise InputError(f"blocks = {path!r} of {type(model).__name__} is no list of modules")
        return _body(model, blocks, parents), blocks
    text = model.config.get_text_config()
    lengths = [getattr(text, name, 0) for name in ("num_hidden_layers", "num_layers")]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    # LongCat counts its attentions, and has two in a block.
    lists = next(filter(None, ([m for m in found if len(m) == n] for n in lengths)), [])
    length = lengths[0]
    beside = parents.get(id(embedding))
    fits = [m for m in lists if parents[id(m)] is beside] or lists
    if len(fits) != 1:
        raise InputError(
            f"{type(model).__name__}: {len(fits)} lists of {length} modules could be its blocks; "
            'say which with blocks = "dotted.path" in its [[model]] entry'
        )
    return _body(model, fits[0], parents), fits[0]


def _body(model: Any, blocks: nn.ModuleList, parents: Mapping[int, nn.Module]) -> nn.Module:
    """Return the smallest module that holds both the blocks and the input embedding."""
    embedding, body = model.get_input_embeddings(), parents[id(blocks)]
    while id(body) in parents and all(part is not embedding for part in body.modules()):
        body = parents[id(body)]
    return body


def parameter_count(model: Any, body: nn.Module) -> int:
    """Count the parameters of the language model that is read, without towers for images or sound.

    Parameters
    ----------
    model : PreTrainedModel
    body : Module
        Its embedding and blocks, as `find_blocks` returns them.

    Returns
    -------
    int
        Of the body and of both embeddings; what they share counts once.
    """
    if getattr(model, "is_quantized", False):  # several numbers share a byte
        with torch.device("meta"):
            model = type(model)(model.config)
        body = find_blocks(model)[0]
    parts = (body, model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(p): p.numel() for part in parts if part is not None for p in part.parameters()}
    return sum(found.values())
