"""Build each kind of model small, certify it, and report the result."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from representations.certificate import CertificateError, certificate
from representations.corpus.corpus import Corpus
from representations.models.errors import oneline
from representations.models.loading import load
from representations.survey.small import save, tokenizer_of
from study.read import InputError
from study.registry import ModelSpec

#: Limits of time and memory for one kind.
SECONDS, MEMORY = 120, 12 * 2**30
#: Modules to load before the processes fork: importing them takes ten times as long as a kind.
SHARED = ["representations.survey.run", "transformers.models.llama.modeling_llama"]
#: The subject of each check that is not about reading.
OF = {"steering": "steer", "steering goes on": "steer"}
PROMPTS = ("Write a short story about a person at the sea who is calm.", "Write about a train.")


@dataclass(frozen=True)
class Found:
    """The result of the survey for one kind.

    Attributes
    ----------
    kind : str
        The library's model type.
    read, write, steer : str
        "exact", "refused", or empty if not reached.
    difference : float
        The largest relative difference in the comparisons, if nothing was refused.
    says : str
        Why the kind is refused or was not built.
    """

    kind: str
    read: str = ""
    write: str = ""
    steer: str = ""
    difference: float = 0.0
    says: str = ""


def kinds() -> tuple[list[str], list[str]]:
    """Return the kinds of causal language models, and those that take images as well as text.

    Returns
    -------
    causal, with_images : list of str
        `with_images` leaves out those in `causal`.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as WITH_IMAGES,
    )

    return sorted(CAUSAL), sorted(set(WITH_IMAGES) - set(CAUSAL))


def survey(chosen: Sequence[str], corpus: Corpus, workers: int = 2) -> Iterator[Found]:
    """Examine kinds in parallel, each in its own process.

    Parameters
    ----------
    chosen : sequence of str
    corpus : Corpus
    workers : int

    Yields
    ------
    Found
        In the order of `chosen`.
    """
    texts = [passage.text for passage in corpus.passages]
    context = get_context("forkserver")
    context.set_forkserver_preload(SHARED)

    def one(kind: str) -> Found:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(theirs, kind, texts))
        worker.start()
        theirs.close()
        try:
            if ours.poll(SECONDS):
                found: Found = ours.recv()
                return found
            return Found(kind, says=f"not built: takes more than {SECONDS} s")
        except EOFError:
            return Found(kind, says="not built: its process ended (out of memory?)")
        finally:
            worker.join(1)
            worker.kill()
            worker.join()
            ours.close()

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, chosen)


def _work(pipe: Connection, kind: str, texts: Sequence[str]) -> None:
    import os
    import warnings

    import torch
    import transformers

    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries have to say of odd sizes
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    pipe.send(examine(kind, texts))


def examine(kind: str, texts: Sequence[str]) -> Found:
    """Build a small random model of a kind, load it as a user does, and read, steer and write.

    Parameters
    ----------
    kind : str
    texts : sequence of str
        The texts on which the tokenizer is trained.

    Returns
    -------
    Found
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            save(kind, Path(folder), tokenizer_of(texts[::4]))
        except InputError as error:
            return Found(kind, read="refused", says=_plain(kind, str(error)))
        except Exception as error:  # a library that it needs, or sizes that do not go together
            return Found(kind, says=f"not built: {oneline(error)}")
        found = _held(kind, folder, texts[:: max(1, len(texts) // 3)][:3])
        says = found.says.replace(folder, "FOLDER")
    return replace(found, says=_plain(kind, says))


def _plain(kind: str, says: str) -> str:
    """Return a message without the model's name and without unprintable characters."""
    for prefix in (f"model {kind!r} (FOLDER): ", f"model {kind!r} in float32 fails its "):
        says = says.removeprefix(prefix)
    says = says.removeprefix(f"model {kind!r}: ")
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in says)


def _held(kind: str, folder: str, passages: Sequence[str]) -> Found:
    spec = ModelSpec(kind, kind, folder)
    found = Found(kind)
    try:
        loaded = load(spec, device="cpu", dtype="float32")
        difference = _difference(certificate(loaded, passages, (), writes=False))
        twin = load(spec, device="cpu", dtype="float32", untrained_seed=0)
        if (twin.n_params, twin.n_layers) != (loaded.n_params, loaded.n_layers):
            raise InputError(f"{twin.n_params} parameters untrained, {loaded.n_params} trained")
        try:
            certificate(twin, passages, (), writes=False)
        except InputError as error:
            raise InputError(f"untrained: {_plain(kind, str(error))}") from None
        found = replace(found, read="exact", steer="exact", difference=difference)
        loaded.certificate = {}
        difference = _difference(certificate(loaded, passages, PROMPTS))
        return replace(found, write="exact", difference=difference)
    except CertificateError as error:
        if not found.read and error.check in OF:
            return replace(found, read="exact", steer="refused", says=str(error))
        return _refused(found, str(error))
    except InputError as error:
        return _refused(found, str(error))
    except Exception as error:  # a bug: the row says "failed"
        return replace(found, read="failed", says=f"{type(error).__name__}: {oneline(error)}")


def _refused(found: Found, says: str) -> Found:
    """Return the result, with the first step not yet passed marked as refused."""
    if found.read:
        return replace(found, write="refused", says=says)
    return replace(found, read="refused", says=says)


def _difference(found: dict[str, object]) -> float:
    checks = found["checks"]
    assert isinstance(checks, list)
    return max(float(check["value"]) for check in checks)
