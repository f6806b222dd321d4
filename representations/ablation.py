"""Ablate the emotions' subspace at one layer, and measure what is lost behind it.

Separation says where emotion can be read. Here it is taken out of the residual stream at a layer
while passages are read. What is then missing at the last layer, and in the prediction of the
passage's own next tokens, says where it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from representations.activations import Window, finite, halving, pad, residual_stream, token_batches
from representations.corpus.corpus import Corpus
from representations.lost import halves
from representations.models.loading import LoadedModel
from representations.models.tokenizers import tokens_of
from representations.pooled import PooledUnit
from representations.separation import first_components
from representations.steering.text_measures import LOGITS, log_likelihood
from representations.subspaces import emotion_subspace, matched
from study import Ablation, Pooling
from study.arrays import FloatArray
from study.read import InputError

#: One token in this many is predicted: over a large vocabulary, predicting costs more than reading.
STEP = 4
#: Relative difference up to which a pass that skips blocks counts as the whole pass.
SAME = 1e-3


def ablation(
    loaded: LoadedModel,
    corpus: Corpus,
    settings: Ablation,
    pooling: Pooling,
    *,
    seed: int = 0,
    progress: Callable[[float], object] = lambda share: None,
) -> PooledUnit:
    r"""Read the passages of the corpus, once intact and twice for each ablated layer.

    Parameters
    ----------
    loaded : LoadedModel
    corpus : Corpus
    settings : Ablation
    pooling : Pooling
    seed : int
        The study's seed: of the halves of topics and of the control's directions.
    progress : callable
        Called with shares of the work, which add up to 1.

    Returns
    -------
    PooledUnit
        Its activations are those of the last layer, shape (texts, 1 + 2 layers, width): intact,
        then without the emotions' subspace at each ablated layer, then without the control's. Its
        facts have the layers, and each text's mean log-likelihood per token in the same order.

    Raises
    ------
    InputError
        For fewer than four topics, texts that are too short, or activations that are not finite.

    Notes
    -----
    The topics are split in halves. The passages of one half are ablated with the subspace from the
    other half: the span of the emotions' mean activations there, less the mean over emotions and
    the first principal components of the neutral texts (`emotion_subspace`). They hold what texts
    differ in apart from emotions; at some layers it is nearly all variance, in a few dimensions.

    With :math:`V` an orthonormal basis of it and :math:`\mu` the mean over tokens, every token
    after the first becomes :math:`h - V V'(h - \mu)`. The mean stays because the offset that all
    texts share is no emotion. The first token of a text stays because it is an attention sink: its
    norm is many times that of the others, and no emotion either.

    The control is a random subspace of the same dimension, which removes the same variance of the
    tokens and also leaves out the neutral texts' components. Its directions are drawn with the
    tokens' covariance to a power, and the power is chosen to match the variance exactly
    (`matched`).

    The last layer itself is never ablated, since no block follows it.
    """
    passages = [*corpus.passages, *(corpus.neutral if settings.denoise else ())]
    tokens = tokens_of(loaded, [p.text for p in passages])
    ids = [some[: settings.tokens or None].tolist() for some in tokens]
    kept = [len(tokens) > pooling.skip for tokens in ids]
    texts, ids = list(compress(passages, kept)), list(compress(ids, kept))
    felt = [i for i, text in enumerate(texts) if text.emotion]
    facts: dict[str, Any] = {
        "emotions": [texts[i].emotion for i in felt],
        "topics": [texts[i].topic for i in felt],
        "neutral_topics": [],
        "texts": len(felt),
        "left_out": len(corpus.passages) - len(felt),
        "tokens": sum(map(len, ids)),
    }
    reader = _Reader(loaded, ids, settings, pooling, progress)
    quiet = [i for i, text in enumerate(texts) if not text.emotion]
    topic_names, topic = np.unique(facts["topics"], return_inverse=True)
    half = halves(len(topic_names), seed)[0][topic]
    reader.look(range(len(texts)))
    names, emotion = np.unique(facts["emotions"], return_inverse=True)
    basis, share = {}, []
    for number, layer in enumerate(reader.layers):
        means = reader.pooled[:, number].double().numpy()
        covariance = reader.covariance(number)
        noise: FloatArray = np.zeros((0, loaded.width))
        if len(quiet) > 1:
            noise = first_components(means[quiet], settings.denoise)
        removed = []
        for side in (0, 1):
            found = emotion_subspace(means[felt], noise, emotion, half != side, len(names))
            rng = np.random.default_rng([seed, layer, side])
            random, factor, removes = matched(covariance, found, noise, rng)
            pair = found, random * np.sqrt(factor)
            basis[number, side] = tuple(torch.from_numpy(b.astype(np.float32)) for b in pair)
            removed.append(removes)
        share.append(float(np.mean(removed)))
    states, likelihood = reader.ablate(felt, half, basis)
    facts["ablated_layers"] = list(reader.layers)
    facts["removed"] = [round(s, 4) for s in share]
    facts["log_likelihoods"] = [[round(v, 5) for v in row] for row in likelihood.tolist()]
    nothing = np.zeros((0, states.shape[1], loaded.width), dtype=np.float32)
    return PooledUnit(states.numpy(), nothing, facts)


def passes(n_layers: int, every: int) -> float:
    """Return how often each token passes through the model: twice, and in part for each layer.

    Examples
    --------
    >>> passes(4, every=2)
    5.0
    """
    return 2 + sum(2 * (1 - layer / n_layers) for layer in range(0, n_layers, every))


class _Reader:
    """Reads texts of one model, intact and ablated."""

    def __init__(
        self,
        loaded: LoadedModel,
        ids: Sequence[Sequence[int]],
        settings: Ablation,
        pooling: Pooling,
        progress: Callable[[float], object],
    ) -> None:
        if not ids:
            raise InputError(
                f"model {loaded.spec.name!r}: no passage is longer than the {pooling.skip} tokens "
                "that pooling skips; lower pooling.skip, or raise ablation.tokens"
            )
        loaded.check_known(ids)
        self._loaded, self._ids = loaded, ids
        self._window = Window(pooling.skip, pooling.size or None)
        self._progress = progress
        self.layers = range(0, loaded.n_layers, settings.every)
        vocabulary = loaded.model.config.get_text_config().vocab_size
        predicted = 2 * (1 + max(map(len, ids)) // STEP)
        self._most = max(1, min(pooling.batch_texts, LOGITS // (vocabulary * predicted)))
        self._most_tokens = pooling.batch_tokens
        self._partial = "logits_to_keep" in inspect.signature(loaded.model.forward).parameters
        n, width = len(self.layers), loaded.width
        self.pooled = torch.zeros(len(ids), n, width)
        self._offset = [torch.zeros(width) for _ in self.layers]
        self._sum = torch.zeros(n, width, dtype=torch.float64)
        self._squares = torch.zeros(n, width, width, dtype=torch.float64)
        self._count = 0
        self._tuples: list[bool] = []
        self._skips: bool | None = None
        self._passes = passes(loaded.n_layers, settings.every)
        self._share = 1 / (self._passes * sum(map(len, ids)))  # of one token in one pass

    def look(self, texts: Sequence[int]) -> None:
        """Read texts intact: pool them at the layers, and sum their tokens' products."""
        with _kinds(self._loaded.blocks) as self._tuples:
            for batch, streams in self._batches(texts, self._streams):
                mask = self._padded(batch)[1]
                weights, inside = self._window.weights(mask), mask.bool()
                inside[:, 0] = False
                for number, stream in enumerate(streams):
                    hidden = stream.float().cpu()
                    means = torch.bmm(weights.unsqueeze(1), hidden)
                    self.pooled[batch, number] = finite(means, batch, self._loaded)[:, 0]
                    tokens = hidden[inside]
                    if not self._count:
                        self._offset[number] = tokens.mean(dim=0)
                    tokens = tokens - self._offset[number]
                    self._sum[number] += tokens.sum(dim=0)
                    self._squares[number] += tokens.T @ tokens
                self._count += int(inside.sum())
                self._progress(self._share * int(mask.sum()))

    def covariance(self, number: int) -> FloatArray:
        """Return the covariance of tokens at a layer, shape (width, width)."""
        mean = self._sum[number] / self._count
        return (self._squares[number] / self._count - torch.outer(mean, mean)).numpy()

    def ablate(
        self,
        texts: Sequence[int],
        half: NDArray[np.int64],
        basis: dict[tuple[int, int], tuple[Tensor, ...]],
    ) -> tuple[Tensor, FloatArray]:
        """Read texts intact and ablated.

        Returns
        -------
        states : Tensor, shape (texts, 1 + 2 layers, width)
        likelihood : ndarray, shape (texts, 1 + 2 layers)
        """
        n, half_of = len(self.layers), dict(zip(texts, half.tolist(), strict=True))
        states = torch.zeros(len(texts), 1 + 2 * n, self._loaded.width)
        likelihood = torch.zeros(len(texts), 1 + 2 * n)
        row = {text: place for place, text in enumerate(texts)}

        def do(batch: list[int]) -> tuple[Tensor, Tensor]:
            streams, last, said = self._intact(batch)
            found, told = [last], [said]
            for number, layer in enumerate(self.layers):
                mean = self._offset[number] + (self._sum[number] / self._count).float()
                both = [
                    _without(
                        streams[number],
                        mean,
                        torch.stack([basis[number, half_of[text]][kind] for text in batch]),
                    )
                    for kind in (0, 1)
                ]
                if self._skips is None:
                    self._skips = self._can_skip(batch, streams, last)
                tail, words = self._behind(batch * 2, layer, torch.cat(both))
                found += tail.chunk(2)
                told += words.chunk(2)
            order = [0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2)]
            return torch.stack(found, 1)[:, order], torch.stack(told, 1)[:, order]

        for batch, (found, told) in self._batches(texts, do):
            rows = [row[text] for text in batch]
            states[rows] = finite(found, batch, self._loaded)
            likelihood[rows] = told
            done = sum(len(self._ids[text]) for text in batch)
            self._progress(self._share * (self._passes - 1) * done)
        return states, likelihood.numpy()

    def _can_skip(self, batch: list[int], streams: list[Tensor], last: Tensor) -> bool:
        """Try whether a pass from the highest ablated layer on gives what the whole pass gave."""
        self._skips = True
        try:
            again = self._behind(batch, self.layers[-1], streams[-1])[0]
        except InputError:
            return False
        return float((again - last).norm()) <= SAME * float(last.norm())

    def _batches(
        self, texts: Sequence[int], do: Callable[[list[int]], Any]
    ) -> Iterator[tuple[list[int], Any]]:
        lengths = [len(self._ids[text]) for text in texts]
        batches = token_batches(lengths, self._most, self._most_tokens)
        return halving([[texts[i] for i in batch] for batch in batches], do, self._loaded)

    def _padded(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        return pad([self._ids[i] for i in batch], self._loaded.tokenizer.pad_token_id, "right")

    @torch.inference_mode()
    def _streams(self, batch: list[int]) -> list[Tensor]:
        """Return the streams at the layers, without predicting tokens."""
        kept: dict[int, Tensor] = {}

        def keep(layer: int, hidden: Tensor) -> None:
            kept[layer] = hidden

        ids = self._padded(batch)[0].to(self._loaded.device)
        with residual_stream(self._loaded.blocks, keep, self.layers):
            self._loaded.run(self._loaded.body, input_ids=ids, use_cache=False)
        return [kept[layer] for layer in self.layers]

    @torch.inference_mode()
    def _intact(self, batch: list[int]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the streams at the layers, the pooled last layer, and the log-likelihoods."""
        kept: dict[int, Tensor] = {}

        def keep(layer: int, hidden: Tensor) -> None:
            kept[layer] = hidden

        with residual_stream(self._loaded.blocks, keep, self.layers):
            last, said = self._pass_over(batch)
        return [kept[layer] for layer in self.layers], last, said

    @torch.inference_mode()
    def _behind(self, batch: list[int], layer: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a residual stream at a layer."""
        with resumed(self._loaded.blocks, layer, hidden, self._tuples if self._skips else None):
            return self._pass_over(batch)

    def _pass_over(self, batch: list[int]) -> tuple[Tensor, Tensor]:
        ids, mask = self._padded(batch)
        weights = self._window.weights(mask).unsqueeze(1)
        last: list[Tensor] = []

        def pool(layer: int, hidden: Tensor) -> None:
            last.append(torch.bmm(weights.to(hidden.device), hidden.float()).squeeze(1).cpu())

        at = torch.arange(self._window.skip - 1, ids.shape[1] - 1, STEP)
        some: dict[str, Any] = {"logits_to_keep": at} if self._partial else {}
        with residual_stream(self._loaded.blocks, pool, [self._loaded.n_layers]):
            inputs = ids.to(self._loaded.device)
            logits = self._loaded.run(
                self._loaded.model, input_ids=inputs, use_cache=False, **some
            ).logits
        logits = logits if self._partial else logits[:, at]
        there = mask[:, at + 1]
        said = (log_likelihood(logits, ids[:, at + 1]) * there).sum(dim=1) / there.sum(dim=1)
        return last[0], said


def _without(hidden: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    """Take subspaces, shape (batch, width, dimension), out of all tokens but the first."""
    basis = basis.to(hidden.device)
    rest = hidden[:, 1:].float() - mean.to(hidden.device)
    component = torch.bmm(torch.bmm(rest, basis), basis.transpose(1, 2))
    return torch.cat([hidden[:, :1], hidden[:, 1:] - component.to(hidden.dtype)], dim=1)


@contextmanager
def _kinds(blocks: nn.ModuleList) -> Iterator[list[bool]]:
    """Record for each block whether its output is a tuple."""
    tuples = [False] * len(blocks)
    with ExitStack() as stack:
        for number, block in enumerate(blocks):

            def record(module: Any, given: Any, output: Any, number: int = number) -> None:
                tuples[number] = isinstance(output, tuple)

            stack.callback(block.register_forward_hook(record).remove)
        yield tuples


@contextmanager
def resumed(
    blocks: nn.ModuleList, layer: int, hidden: Tensor, tuples: Sequence[bool] | None
) -> Iterator[None]:
    """Replace the residual stream at a layer in every forward pass inside.

    Parameters
    ----------
    blocks : ModuleList
    layer : int
    hidden : Tensor, shape (batch, positions, width)
    tuples : sequence of bool, optional
        Whether each block's output is a tuple. If given, the blocks before the layer do not run.
    """
    with ExitStack() as stack:
        for block, is_tuple in zip(list(blocks)[:layer], tuples or (), strict=False):
            own = vars(block).get("forward")
            vars(block)["forward"] = _through(is_tuple)
            if own is None:
                stack.callback(vars(block).pop, "forward")
            else:
                stack.callback(vars(block).update, {"forward": own})
        stack.enter_context(
            residual_stream(blocks, lambda _, stream: hidden.to(stream.device), [layer])
        )
        yield


def _through(is_tuple: bool) -> Callable[..., Any]:
    def forward(hidden_states: Tensor, *unused: Any, **more: Any) -> Any:
        return (hidden_states,) if is_tuple else hidden_states

    return forward
