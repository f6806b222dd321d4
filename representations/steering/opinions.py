"""Ask the unsteered model which emotion a text shows: its own opinion, beside the judges'."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from representations.activations import halving, pad
from representations.key_cache import has_only_keys
from representations.models.loading import LoadedModel
from representations.models.tokenizers import tokens_of
from representations.prompt_cache import read_prompts
from representations.steering.text_measures import LOGITS, log_likelihood
from study.arrays import Float64Array
from study.read import InputError

#: What is asked after each text; the same for every text and every target.
QUESTION = "\n\nThe feeling in this text is"
#: A text without content: what the model answers to it is its habit.
CONTENT_FREE = "N/A"


def opinions(
    loaded: LoadedModel,
    texts: Sequence[str],
    emotions: Sequence[str],
    *,
    max_texts: int = 32,
    progress: Callable[[int], object] = lambda tokens: None,
) -> Float64Array:
    """Return a model's log-odds of each emotion over the others, after reading a text.

    Parameters
    ----------
    loaded : LoadedModel
    texts : sequence of str
    emotions : sequence of str
        At least two.
    max_texts : int
        Texts per batch, or fewer for a large vocabulary. A batch that does not fit in memory is
        halved.
    progress : callable
        Called with the number of tokens read, after each batch.

    Returns
    -------
    ndarray, shape (texts, emotions)

    Raises
    ------
    InputError
        If there are fewer than two emotions, or the tokenizer joins an emotion to the question.

    Notes
    -----
    With l_e the log-probability of an emotion's name as the answer to `QUESTION` after the text,
    minus that after a text without content, the log-odds are l_e minus the log of the summed
    exp(l_f) over the other emotions f. The subtraction takes away how common a name is in itself
    [1]_, [2]_. The question names no emotion, and the model sees it as plain text, whatever its
    chat template.

    References
    ----------
    .. [1] Zhao, Z. et al. (2021). Calibrate before use: improving few-shot performance of language
       models. ICML, PMLR 139, 12697-12706.
    .. [2] Holtzman, A. et al. (2021). Surface form competition: why the highest probability answer
       isn't always right. EMNLP, 7038-7051.
    """
    if len(emotions) < 2:
        raise InputError("the model's own opinion needs at least two emotions to choose from")
    prompts = [ids.tolist() for ids in tokens_of(loaded, [t + QUESTION for t in texts])]
    habit = [ids.tolist() for ids in tokens_of(loaded, [CONTENT_FREE + QUESTION])]
    answers = _answers(loaded, emotions)
    found = log_probabilities(
        loaded, [*habit, *prompts], answers, max_texts=max_texts, progress=progress
    )
    return log_odds(found[1:] - found[0])


def quality(found: Float64Array, shown: Sequence[str], emotions: Sequence[str]) -> float:
    """Return how well opinions tell texts of an emotion from others.

    Parameters
    ----------
    found : ndarray, shape (texts, emotions)
        From `opinions`.
    shown : sequence of str
        The emotion of each text.
    emotions : sequence of str

    Returns
    -------
    float
        The mean over the shown emotions of the area under the curve, each against the others.
    """
    from sklearn.metrics import roc_auc_score

    labels = np.array(shown)
    known = sorted(set(shown))
    columns = [list(emotions).index(emotion) for emotion in known]
    pairs = zip(known, columns, strict=True)
    return float(np.mean([roc_auc_score(labels == e, found[:, c]) for e, c in pairs]))


def log_odds(values: Float64Array) -> Float64Array:
    """Return the log-odds of each column over the others, from unnormalized log-probabilities.

    Examples
    --------
    >>> log_odds(np.log([[0.2, 0.6, 0.2]])).round(3)
    array([[-1.386,  0.405, -1.386]])
    """
    own = log_softmax(values, axis=1)
    columns = range(values.shape[1])
    others = [logsumexp(np.delete(own, column, axis=1), axis=1) for column in columns]
    return np.asarray(own - np.stack(others, axis=1))


def _answers(loaded: LoadedModel, emotions: Sequence[str]) -> list[list[int]]:
    """Return the tokens of the emotions' names, as they follow the question."""
    whole = [f"{QUESTION} {emotion}" for emotion in emotions]
    asked, *with_answer = tokens_of(loaded, [QUESTION, *whole], special=False)
    n = len(asked)
    for emotion, ids in zip(emotions, with_answer, strict=True):
        if len(ids) <= n or not np.array_equal(ids[:n], asked):
            raise InputError(
                f"model {loaded.spec.name!r}: the tokenizer joins the emotion {emotion!r} to the "
                'question; leave "own" out of steering.judges'
            )
    return [ids[n:].tolist() for ids in with_answer]


@torch.inference_mode()
def log_probabilities(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    *,
    max_texts: int = 32,
    progress: Callable[[int], object] = lambda tokens: None,
) -> Float64Array:
    """Return the log-probability of every answer after every prompt.

    Parameters
    ----------
    loaded : LoadedModel
    prompts, answers : sequence of sequences of int
        Tokens; no answer is empty.
    max_texts : int
    progress : callable

    Returns
    -------
    ndarray, shape (prompts, answers)

    Notes
    -----
    A prompt is read once. Its last position has the probabilities of all first tokens; only
    answers of several tokens are read, after the prompt's keys and values.
    """
    found = np.empty((len(prompts), len(answers)))
    firsts = torch.tensor([answer[0] for answer in answers])
    long = [i for i, answer in enumerate(answers) if len(answer) > 1]
    more, inside = pad([answers[i] for i in long], 0, "right") if long else (None, None)
    vocabulary = loaded.model.config.get_text_config().vocab_size
    per_prompt = vocabulary * max(1, len(long) * (0 if more is None else more.shape[1] - 1))
    size = max(1, min(max_texts, LOGITS // per_prompt))
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))

    def do(batch: list[int]) -> Tensor:
        some = [prompts[i] for i in batch]
        first, cache, mask = read_prompts(loaded, some)
        scores = first.float().log_softmax(dim=1)[:, firsts.to(first.device)].cpu().double()
        if more is None or inside is None:
            return scores
        where = torch.arange(len(batch), device=loaded.device).repeat_interleave(len(long))
        if has_only_keys(cache):
            cache.batch_select_indices(where)
            mask = mask[where]
        else:
            _, cache, mask = read_prompts(loaded, [some[i] for i in where.tolist()])
        tokens = more.repeat(len(batch), 1).to(loaded.device)
        own = inside.repeat(len(batch), 1).to(loaded.device)
        mask = torch.cat([mask, own[:, :-1]], dim=1)
        logits = loaded.run(
            loaded.model,
            input_ids=tokens[:, :-1],
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1)[:, -(tokens.shape[1] - 1) :],
            past_key_values=cache,
            use_cache=True,
        ).logits
        rest = log_likelihood(logits, tokens[:, 1:]).double() * own[:, 1:].cpu()
        scores[:, long] += rest.sum(dim=1).reshape(len(batch), len(long))
        return scores

    batches = [order[i : i + size] for i in range(0, len(order), size)]
    for batch, scores in halving(batches, do, loaded):
        found[batch] = scores.numpy()
        progress(sum(len(prompts[i]) for i in batch))
    return found
