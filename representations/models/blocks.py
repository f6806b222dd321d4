"""Where the transformer blocks are in a model's tree of modules, and how large what is read is."""

from __future__ import annotations

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
    parents = {id(child): parent for parent in model.modules() for child in parent.children()}
    if path:
        try:
            blocks = model.get_submodule(path)
        except AttributeError:
            raise InputError(f"blocks = {path!r} is no module of {type(model).__name__}") from None
        if not isinstance(blocks, nn.ModuleList):
            raise InputError(f"blocks = {path!r} of {type(model).__name__} is no list of modules")
        return parents[id(blocks)], blocks
    length = getattr(model.config.get_text_config(), "num_hidden_layers", 0)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == length]
    beside = parents.get(id(model.get_input_embeddings()))
    fits = [m for m in lists if parents[id(m)] is beside] or lists
    if len(fits) != 1:
        raise InputError(
            f"{type(model).__name__}: {len(fits)} lists of {length} modules could be its blocks; "
            'say which with blocks = "dotted.path" in its [[model]] entry'
        )
    return parents[id(fits[0])], fits[0]


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
