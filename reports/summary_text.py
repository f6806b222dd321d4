"""Say on two slides what was claimed and found, and how sure that is."""

from __future__ import annotations

import plotnine as p9

from analysis import figures
from analysis.claims.table import ENDING
from analysis.families import too_few
from analysis.wording import count, typeset, verdict_mark
from analysis.wording import markdown_column as column
from reports.paper import Findings, limits_sentence, share, tally
from reports.story import VERDICTS, subtitle
from study.text import Markdown

#: More claims than this do not fit on a slide.
ROWS = 9
#: The largest number of panels in a row of the figure; its width and height in inches.
COLUMNS = 5
SIZE = (8.4, 3.2)


def headline(found: Findings) -> Markdown:
    """Say how the claims came out, as the paper does under its title."""
    if not found.scores.is_foreign:
        return Markdown("{}.").format(subtitle(found))
    return Markdown("Of {}, in {}, {}.").format(
        count(len(found.claims), "claim that can be tested", "claims that can be tested"),
        count(len(found.models), "model"),
        tally(found.claims[f"verdict{ENDING}"]),
    )


def claims_in_words(found: Findings) -> Markdown:
    """Typeset the claims of the first source, and their verdicts in both scopes."""
    shown = _shown(found)
    verdicts = {
        f"word{end}": column(verdict_mark(word) for word in found.claims.loc[shown, name])
        for end, name in ((ENDING, f"verdict{ENDING}"), ("", "verdict"))
    }
    table = found.claims.loc[shown].assign(**verdicts)
    columns = {"claim": "Claim", f"word{ENDING}": "In these models", "word": "In models like these"}
    return typeset(table, columns, widths=[50, 24, 26])


def others(found: Findings) -> Markdown:
    """Say how the claims came out that the table leaves out."""
    rest = found.claims.drop(index=_shown(found))
    if rest.empty:
        return Markdown("")
    return Markdown("Of {}, in these models, {}.").format(
        count(len(rest), "further claim"), tally(rest[f"verdict{ENDING}"])
    )


def _shown(found: Findings) -> list[int]:
    """Return the rows of the claims of the first source; a study's rows are numbered from 0."""
    sources = found.claims["source"].tolist()
    return [i for i, source in enumerate(sources) if source == sources[0]][:ROWS]


def how_sure(found: Findings) -> Markdown:
    """Say how far the verdicts reach, and what an open one means."""
    few = too_few(found.models["family"].nunique())
    decided = found.claims["verdict"].isin(VERDICTS[:2]).sum()
    if few:
        reach = Markdown("No verdict extends to other models: {}.").format(few)
    elif decided:
        reach = Markdown("{} to models like these.").format(
            count(int(decided), "verdict extends", "verdicts extend").capitalize()
        )
    else:
        reach = Markdown("No verdict extends to models like these.")
    return Markdown(
        "{} The verdicts allow for the number of claims: at most {:.0%} of such studies would "
        "print any false verdict in a scope. *Undecided* means neither shown nor ruled out."
    ).format(reach, found.alpha)


def shape(found: Findings) -> Markdown:
    """Say how many profiles have the shape that was claimed: the title of the figure."""
    primary = found.shapes_of("trained", found.primary_metric)
    return Markdown("Separation demonstrably rises and then falls in {} trained profiles").format(
        share(primary["verdict"], "hump")
    )


def picture(found: Findings) -> p9.ggplot:
    """Draw the paper's first figure in the format of a slide."""
    n = len(found.models)
    columns = -(-n // -(-n // COLUMNS))  # rows of equal length: six models are three and three
    return figures.depth_profiles(found.scores, found.primary_metric, found.fits, columns, SIZE)


def caption(found: Findings) -> Markdown:
    """Describe the key figure in one sentence."""
    bands = ", with intervals" if found.scores.replicates is not None else ""
    twins = "; dashed gray lines are untrained twins" if found.n_twins else ""
    return Markdown("Separation by depth ({}), one panel per model{}{}.").format(
        found.measure_name, bands, twins
    )


def caveats(found: Findings) -> Markdown:
    """Say what limits the study."""
    return Markdown("**Caveats.** {}").format(limits_sentence(found))
