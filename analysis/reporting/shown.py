"""Which columns of a result a printed table shows, under which headings, with which notes."""

from __future__ import annotations

from typing import Literal, NamedTuple

How = Literal["text", "number", "statistic", "df", "interval", "p", "count"]


class Shown(NamedTuple):
    """A column of a printed table.

    Attributes
    ----------
    heading : str
    column : str
        The column of the result; for an interval, that of the estimate.
    how : {"text", "number", "statistic", "df", "interval", "p", "count"}
    low, high : str
        The columns of an interval's ends.
    """

    heading: str
    column: str
    how: How = "text"
    low: str = ""
    high: str = ""


class Printed(NamedTuple):
    """What a printed table of a kind of result shows."""

    columns: tuple[Shown, ...]
    note: str = ""


def interval(heading: str, stem: str = "", estimate: str = "estimate") -> Shown:
    """Return the column of an estimate with its interval."""
    ends = (f"{stem}_low", f"{stem}_high") if stem else ("low", "high")
    return Shown(heading, stem or estimate, "interval", *ends)


def number(heading: str, column: str) -> Shown:
    """Return a column of numbers with decimals."""
    return Shown(heading, column, "number")


def statistic(heading: str, column: str) -> Shown:
    """Return a column of a test's statistic, always with two decimals."""
    return Shown(heading, column, "statistic")


def count(heading: str, column: str) -> Shown:
    """Return a column of whole numbers."""
    return Shown(heading, column, "count")


def p(heading: str = "p", column: str = "p") -> Shown:
    """Return a column of p."""
    return Shown(heading, column, "p")


#: What a row is about, in most results. What is the same in all rows goes into the notes.
ABOUT = (
    Shown("Scope", "scope"),
    Shown("Metric", "metric"),
    Shown("Method", "method"),
    Shown("Weights", "weights"),
    Shown("Labels", "labels"),
)
MODEL, VERDICT = Shown("Model", "model"), Shown("Verdict", "verdict")
TEST = (statistic("t", "t"), Shown("df", "df", "df"), p())

UNDECIDED = "Undecided: neither side is shown."
HOLM = "p is adjusted over the table by Holm's method."

PRINTED: dict[str, Printed] = {
    "claims_table": Printed(
        (
            Shown("Claim", "claim"),
            Shown("Scope", "scope"),
            Shown("Source", "source"),
            Shown("Estimated", "quantity"),
            interval("Estimate"),
            p("p", "p_holm"),
            count("n", "n"),
            VERDICT,
        ),
        f"{HOLM} n is the number of models. {UNDECIDED} Not testable: the study lacks what the "
        "test needs.",
    ),
    "u_shape_test": Printed(
        (MODEL, *ABOUT, interval("Weaker arm"), p(), p("p (Holm)", "p_holm"), VERDICT),
        "Weaker arm: the change along the smaller of the rise and the fall, in the metric's units. "
        f"Hump: separation rises, then falls with depth. {UNDECIDED}",
    ),
    "fit_curves": Printed(
        (
            MODEL,
            *ABOUT,
            interval("Peak", "peak"),
            interval("Vertex", "vertex"),
            interval("Curvature", "curvature"),
            p(),
            Shown("Best form", "best"),
            VERDICT,
        ),
        "Depths run from 0 to 1; the curvature is in the metric's units, and p belongs to it. "
        "Without a hump that is shown, there is no peak.",
    ),
    "localization_test": Printed(
        (
            *ABOUT,
            Shown("Layers", "layers"),
            Shown("Peak by", "peak"),
            MODEL,
            interval("Depth"),
            number("SD", "tau"),
            Shown("df", "df", "df"),
            p("p (at target)"),
            p("p (elsewhere)", "p_elsewhere"),
            count("Models", "n_models"),
            VERDICT,
        ),
        f"Depths run from 0 to 1. At target: equivalence is shown within the margin. {UNDECIDED}",
    ),
    "literature_test": Printed(
        (
            interval("Depth"),
            number("SD", "tau"),
            Shown("df", "df", "df"),
            p("p (at target)"),
            p("p (elsewhere)", "p_elsewhere"),
            count("Figures", "n_figures"),
            count("Sources", "n_sources"),
            VERDICT,
        ),
        "Depths run from 0 to 1.",
    ),
    "control_test": Printed(
        (
            Shown("Contrast", "contrast"),
            MODEL,
            *ABOUT,
            interval("Difference"),
            *TEST,
            p("p (not learned)", "p_not"),
            count("n", "n_models"),
            VERDICT,
        ),
        "Differences are in the metric's units; positive where the trained profile has more; p "
        "belongs to them. p (not learned): of the control's hump being the same, or of another "
        f"shape. {UNDECIDED}",
    ),
    "invariance_test": Printed(
        (
            *ABOUT,
            MODEL,
            Shown("Other", "other"),
            Shown("By", "by"),
            statistic("LR", "lr"),
            count("df", "df"),
            p("p (χ²)", "p_chi2"),
            p("p (bootstrap)", "p_boot"),
            p("p (permuted)", "p_perm"),
            p(),
            interval("Departure"),
            p("p (equivalence)", "p_equivalence"),
            count("n", "n_models"),
            VERDICT,
        ),
        "LR: likelihood ratio of family by curve; its χ² p is for comparison only; p decides. "
        "Departure: the largest of a family's peak from the mean over families, in depth. "
        f"{UNDECIDED}",
    ),
    "scale_test": Printed(
        (
            *ABOUT,
            interval("Change"),
            *TEST,
            p("p (equivalence)", "p_equivalence"),
            count("n", "n"),
            VERDICT,
        ),
        f"Change: of the peak's depth over the study's range of sizes. {UNDECIDED}",
    ),
    "method_test": Printed(
        (
            Shown("Test", "test"),
            MODEL,
            *ABOUT,
            Shown("a", "a"),
            Shown("b", "b"),
            interval("Difference"),
            statistic("Statistic", "statistic"),
            Shown("df", "df", "df"),
            p(),
            Shown("Hedges' g", "hedges_g", "interval", "g_low", "g_high"),
            count("n", "n"),
            VERDICT,
        ),
        "Difference: a minus b, in the metric's units. n: models; of Mann-Whitney, values, one per "
        f"model and method. {UNDECIDED}",
    ),
    "crossed_reading_test": Printed(
        (
            Shown("Effect", "effect"),
            MODEL,
            *ABOUT,
            interval("Difference"),
            *TEST,
            count("n", "n_models"),
            VERDICT,
        ),
        f"Differences in separation, in the metric's units. {UNDECIDED}",
    ),
    "causal_profile": Printed(
        (
            Shown("Measure", "measure"),
            Shown("Compared with", "compared"),
            MODEL,
            *ABOUT,
            interval("Lost", "lost"),
            interval("Depth of loss", "depth"),
            interval("Difference"),
            p("p of difference", "p_apart"),
            p("p of equivalence"),
            VERDICT,
        ),
        "Lost: averaged over layers, beyond the control. Difference: of depth, from that of "
        f"separation's peak or of another model's loss. {UNDECIDED}",
    ),
    "family_departures": Printed(
        (
            Shown("Family", "family"),
            *ABOUT,
            count("Models", "n_models"),
            number("Peak", "place"),
            interval("Departure"),
            number("P(beyond)", "p_beyond"),
        ),
        "Posterior mean with its credible interval; P(beyond): the probability that the departure "
        "exceeds the margin. It decides nothing.",
    ),
    "steering_summary": Printed(
        (
            MODEL,
            Shown("Family", "family"),
            Shown("Emotion", "emotion"),
            Shown("Strength", "strength"),
            Shown("Scope", "scope"),
            Shown("Judge", "judge"),
            count("n", "n"),
            interval("Above baseline"),
            number("Sham", "sham"),
            number("Both", "success"),
            interval("Difference", "difference"),
            p(),
            VERDICT,
        ),
        f"Shares of texts; difference: steered minus sham. {UNDECIDED}",
    ),
    "beside_published": Printed(
        (
            Shown("Source", "source"),
            count("n", "n"),
            interval("Above baseline"),
            number("Sham", "sham"),
            number("Both", "success"),
            number("Surgical", "surgical"),
        ),
        "Shares of texts.",
    ),
    "dose_response": Printed(
        (
            MODEL,
            Shown("Half effect", "half_effect", "interval", "half_low", "half_high"),
            interval("Breaks", "breaks"),
            number("Effect", "effect"),
            p(),
            VERDICT,
        ),
        "Strengths at which half of the largest effect is reached, and half of the texts are "
        "broken. Effect: the largest mean gain beyond the sham over the strengths, with its p. "
        f"{UNDECIDED}",
    ),
    "depth_test": Printed(
        (
            MODEL,
            number("Peak", "peak"),
            number("Best depth", "best"),
            interval("Difference"),
            p(),
            number("Rank correlation", "spearman"),
            VERDICT,
        ),
        "Difference: the share beyond the sham at the peak minus that at the other depths.",
    ),
    "judge_agreement": Printed(
        (
            Shown("a", "a"),
            Shown("b", "b"),
            count("n", "n"),
            number("Agreement", "agreement"),
            number("κ", "kappa"),
            number("Rank correlation", "spearman"),
        )
    ),
    "regime_test": Printed(
        (Shown("By", "by"), number("Explained", "estimate"), p(), count("n", "n"), VERDICT),
        "Explained: the share of the variance between models beyond the other predictor.",
    ),
    "regime_table": Printed(
        (
            MODEL,
            Shown("Strength", "strength"),
            Shown("Kind", "kind"),
            Shown("Regime", "regime"),
            count("n", "n"),
            number("Share", "share"),
        )
    ),
    "published_check": Printed(
        (
            Shown("Test", "test"),
            count("n (a)", "n_a"),
            count("n (b)", "n_b"),
            count("U", "U"),
            p(),
            number("Largest d", "d_bound"),
            VERDICT,
        )
    ),
    "design_power": Printed(
        (
            Shown("Test", "test"),
            Shown("Truth", "truth"),
            count("Models", "n_models"),
            Shown("Families", "families"),
            interval("Difference", estimate="difference"),
            number("Same", "same"),
            number("Undecided", "undecided"),
            number("Coverage", "coverage"),
            count("Studies", "n_sim"),
        ),
        "Shares of simulated studies.",
    ),
    "reachable_margins": Printed(
        (
            Shown("Margin", "margin"),
            number("By itself", "alone"),
            number("Together", "together"),
            count("Models", "n_models"),
            count("Families", "n_families"),
            count("Studies", "n_sim"),
        ),
        "Margins within which most simulated studies show sameness.",
    ),
    "valence_table": Printed(
        (MODEL, number("Depth", "depth"), interval("Share", estimate="share")),
        "The interval holds the central share of values with valences shuffled over emotions.",
    ),
}
