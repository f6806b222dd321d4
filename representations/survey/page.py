"""Write the page of kinds: which can be read, write and be steered, and why others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from representations.survey.run import Found

HEAD = """# Kinds of models

Architectures differ in ways that raise no error. `python -m representations.models --survey` builds
each kind of causal language model in the installed transformers, small and with random weights. It
saves the model, loads it as a study does, and applies the certificate that every model gets before
its first unit (see [representations](../representations/README.md)). It wrote this page
with transformers {transformers} and torch {torch}, in float32 on a CPU.
{timm}

*Exact* means that all checks of the certificate pass. For reading: every layer occurs once per pass
and equals the library's own hidden state, and a text has the same activations alone as in a padded
batch. For writing: a story is the same in a batch as alone, and has the same activations when it is
read again. For steering: a vector added at a layer is there and reaches the next layer.
*Difference* is the largest relative difference in these comparisons; the limit is 1e-3. The
untrained twin is read as well and must have the same numbers of parameters and layers. In a study,
a *refused* kind ends with the message in its row. A kind that was *not built* is not judged here;
in a study it gets its certificate like any other.

Of {all} kinds, {read} can be read and steered, and {write} of these can write; {refused} are
refused, and {unbuilt} were not built.
"""
TABLE = "\n| kind | read | write | steer | difference | what it says |\n|---|---|---|---|---|---|\n"


def page(causal: Sequence[Found], with_images: Sequence[Found]) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    causal, with_images : sequence of Found

    Returns
    -------
    str
    """
    found = [*causal, *with_images]
    unbuilt = [one for one in found if not one.read]
    text = HEAD.format(
        transformers=version("transformers"),
        torch=version("torch").partition("+")[0],
        timm=_timm(),
        all=len(found),
        read=sum(one.read == "exact" and one.steer == "exact" for one in found),
        write=sum(one.write == "exact" for one in found),
        refused=sum(one.read not in ("", "exact") for one in found),
        unbuilt=len(unbuilt),
    )
    text += "\n## Causal language models\n" + TABLE + "".join(map(row, causal))
    if with_images:
        text += "\n## Models that take images beside text\n\nThe language model is read.\n"
        text += TABLE + "".join(map(row, with_images))
    return text


def _timm() -> str:
    """State whether timm, which some vision towers need, was installed."""
    try:
        return f"Vision towers from timm were built with timm {version('timm')}."
    except PackageNotFoundError:
        return "Models with a vision tower from timm were not built: timm was not installed."


def row(found: Found) -> str:
    r"""Return a row of the table.

    Parameters
    ----------
    found : Found

    Returns
    -------
    str

    Examples
    --------
    >>> row(Found("gpt2", "exact", "exact", "exact", 2.5e-7))
    '| `gpt2` | exact | exact | exact | 2e-07 | |\n'
    """
    difference = f"{found.difference:.0e}" if found.read == "exact" else ""
    says = found.says.replace("|", "\\|").replace("*", "\\*")
    cells = (f"`{found.kind}`", found.read, found.write, found.steer, difference, says)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|\n"
