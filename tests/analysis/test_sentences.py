"""Sentences about results: the numbers of the table, in the form that journals ask for."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import InputError, load_scores, load_trials, say
from analysis.claims.specification_curve import specification_table
from analysis.over_models.crossed_reading import without_crossreading
from analysis.planning.simulate import simulate_scores
from analysis.profiles.controls import Contrast, _decide
from analysis.profiles.fixed_shapes import fixed_shapes
from analysis.profiles.uncertainty import fault
from analysis.reporting.say import KINDS, kind_of
from analysis.trials.agreement import judge_agreement
from analysis.trials.regimes import regime_table
from analysis.trials.success import beside_published, depth_test
from analysis.wording import number, p_value

DATA = Path(analysis.__file__).parent.parent / "data"


@cache
def of_two() -> analysis.Scores:
    return load_scores(DATA / "scores" / "demo").select(metric=["auc", "anisotropy"])


@cache
def of_nine() -> analysis.Scores:
    return simulate_scores(
        families=(3, 3, 3), methods=("comprehension", "generation"), method_effect=0.05, seed=1
    )


@cache
def steered() -> analysis.Trials:
    return load_trials(DATA / "steering" / "demo")


def without() -> analysis.Scores:
    return without_crossreading(of_two()).select(metric="auc")


def ablated() -> analysis.Scores:
    """The demo's separation, as if ablation lost a tenth of it at every third layer."""
    read = of_two().select(metric="auc", method="comprehension", weights="trained", labels="true")
    keys = {"method": "ablation", "metric": "separation_lost"}

    def with_loss(table: pd.DataFrame) -> pd.DataFrame:
        third = table[(table["layer"] % 3 == 0) & (table["depth"] < 1)]
        return pd.concat([table, third.assign(**keys, score=third["score"] / 10)])

    assert read.replicates is not None
    return replace(
        read,
        table=with_loss(read.table),
        replicates=with_loss(read.replicates),
        directions={**read.directions, "separation_lost": 1},
    )


#: By kind of table: what makes one.
RESULTS: dict[str, Callable[[], pd.DataFrame]] = {
    "control_test": lambda: analysis.control_test(without_crossreading(of_two()), scope=None),
    "u_shape_test": lambda: analysis.u_shape_test(
        of_two().select(metric="auc"), weights=None, scope=None
    ),
    "fit_curves": lambda: analysis.fit_curves(without()),
    "localization_test": lambda: analysis.localization_test(of_nine(), scope=None),
    "invariance_test": lambda: analysis.invariance_test(of_nine(), n_boot=39, scope=None),
    "scale_test": lambda: analysis.scale_test(of_nine(), scope=None),
    "method_test": lambda: analysis.method_test(of_nine()),
    "crossed_reading_test": lambda: analysis.crossed_reading_test(of_two(), metric="auc"),
    "causal_profile": lambda: analysis.causal_profile(ablated()),
    "family_departures": lambda: analysis.family_departures(of_nine()),
    "steering_summary": lambda: analysis.steering_summary(steered(), by=["model", "strength"]),
    "beside_published": lambda: beside_published(steered()),
    "dose_response": lambda: analysis.dose_response(steered(), n_boot=50),
    "depth_test": lambda: depth_test(steered()),
    "judge_agreement": lambda: judge_agreement(steered()),
    "literature_test": lambda: analysis.literature_test(),
    "regime_test": lambda: analysis.regime_test(steered()),
    "regime_table": lambda: regime_table(steered()),
    "published_check": lambda: analysis.published_check(n_max=5),
    "design_power": lambda: analysis.design_power(n_sim=2, n_boot=19, families=(2, 2, 2)),
    "reachable_margins": lambda: analysis.reachable_margins(n_sim=3),
}


@pytest.mark.parametrize("name", RESULTS)
def test_sentences_hold_the_numbers_of_their_rows(name: str) -> None:
    result = RESULTS[name]()
    assert kind_of(result).name == name
    said = say(result)
    assert len(said) == len(result)
    for text, row in zip(said, result.to_dict("records"), strict=True):
        assert_numbers(text, row)
        assert text.endswith(".")
        assert text[0].isupper()
        assert not re.search(r"\bnan\b|None|  |\(\)|: \.|, ,", text), text
    assert sum(map(len, map(numbers_in, said))) > len(said)


def assert_numbers(text: str, row: dict[str, object]) -> None:
    """Assert that each number of a sentence is one of its row, rounded."""
    words = sorted((v for v in row.values() if isinstance(v, str) and v), key=len, reverse=True)
    for word in words:
        text = text.replace(word, " ")
    known = {"95", f"{100 * float(str(row.get('confidence', 0.95))):.3g}"}
    for value in row.values():
        if isinstance(value, str):
            known.add(str(len(value.split())))  # "2 2 2": families of a design
        elif pd.notna(value) and not isinstance(value, bool):
            known |= {number(float(str(value)), d).lstrip("−") for d in (0, 2, 3)}
            known |= {p_value(float(str(value))).replace("0.", ".").split("\xa0")[-1]}
            known |= {f"{value:,}", str(value)}
    unknown = set(numbers_in(text)) - known - {".999"}
    assert not unknown, (text, unknown)


def numbers_in(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])(?:\d[\d,]*)?\.?\d+(?![\w-])", text)


def test_wrong_numbers_would_be_found() -> None:
    row = {"model": "gpt-2", "share": 0.412, "p": 0.0312}
    assert_numbers("In gpt-2, share = 0.41, p = .031.", row)
    with pytest.raises(AssertionError, match=r"0\.42"):
        assert_numbers("In gpt-2, share = 0.42, p = .031.", row)


def test_every_result_has_sentences() -> None:
    tested = {*RESULTS, "claims_table", "valence_table"}
    assert tested == {kind.name for kind in KINDS}
    public = {n for n in analysis.__all__ if n.endswith(("_test", "_table", "_summary", "_check"))}
    public -= {"precision_test"}  # a table of method_test
    assert public | {"fit_curves", "dose_response", "family_departures", "causal_profile"} <= tested


def test_claims_in_sentences() -> None:
    rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    study = replace(of_nine(), run={"study": {"preregistered": rules}})
    claims = analysis.claims_table(study, steered(), n_boot=39)
    for text, row in zip(say(claims), claims.to_dict("records"), strict=True):
        assert text.startswith(f"{row['claim']}: {row['verdict']}")
        assert_numbers(text, row)
    levels = claims.set_index("key")["confidence"]
    assert levels["architecture"] == pytest.approx(0.9)
    assert levels["peak"] == pytest.approx(0.95)
    assert "90% CI [" in say(claims[claims["key"] == "architecture"])[0]


def test_valence_in_sentences() -> None:
    table = pd.DataFrame([{"model": "m", "depth": 0.5, "share": -0.1, "low": -0.3, "high": 0.3}])
    assert say(table) == [
        "In m, at a depth of 0.50, valence explained a share of the squared distances: "
        "share = −0.10, 95% of shuffles [−0.30, 0.30]."
    ]


LOCATED = {
    "method": "comprehension",
    "metric": "auc",
    "estimate": 0.4951,
    "low": 0.41,
    "high": 0.5849,
    "tau": 0.05,
    "df": 4.0,
    "p": 0.0132,
    "p_elsewhere": 1.0,
    "target": 0.5,
    "delta": 0.1,
    "n_models": 9,
    "n_pooled": 8,
    "n_families": 5,
    "verdict": "at target",
    "reason": "the pooled peak 0.50 is within 0.40 to 0.60",
    "confidence": 0.95,
}


def located(**changes: object) -> pd.DataFrame:
    return pd.DataFrame([LOCATED | changes])


def test_the_form_that_journals_ask_for() -> None:
    assert say(located(), names={"auc": "AUC"}) == [
        "The peak of the models was at the target of 0.50 ± 0.10 (comprehension, AUC): "
        "pooled depth = 0.50, 95% CI [0.41, 0.58], df = 4, SD between models = 0.05, "
        "p of equivalence = .013, n = 8 of 9 models in 5 families."
    ]
    (plain,) = say(located(), style="plain", digits=3)
    assert "0.495, 95% CI [0.410, 0.585]" in plain
    assert "p of equivalence = 0.013" in plain


@pytest.mark.parametrize(
    ("p", "said"), [(0.0004, "< .001"), (0.9996, "> .999"), (1.0, "> .999"), (0.05, "= .050")]
)
def test_p_has_no_leading_zero(p: float, said: str) -> None:
    assert f"p of equivalence {said}," in say(located(p=p))[0]


def test_what_is_missing_is_left_out_and_said_why() -> None:
    gone = dict.fromkeys(("estimate", "low", "high", "tau", "df", "p", "p_elsewhere"), np.nan)
    table = located(**gone, verdict="undecided", reason="2 of 9 models have a peak")
    assert say(table) == [
        "Whether the peak of the models is at the target of 0.50 ± 0.10 (comprehension, auc) is "
        "undecided (2 of 9 models have a peak): n = 8 of 9 models in 5 families."
    ]


def test_signs_and_open_ends() -> None:
    table = located(estimate=-0.2, low=-np.inf, high=-0.1)
    assert "pooled depth = −0.20, 95% CI [−∞, −0.10]" in say(table)[0]


def test_the_level_comes_from_the_table_else_from_the_caller() -> None:
    assert "99% CI [" in say(located(confidence=0.99))[0]
    bare = located().drop(columns="confidence")
    assert "95% CI [" in say(bare)[0]
    assert "90% CI [" in say(bare, confidence=0.9)[0]


def test_a_saved_table_says_the_same() -> None:
    result = RESULTS["method_test"]()
    again = pd.read_csv(io.StringIO(result.to_csv(index=False)))
    assert say(again) == say(result)


def test_t_has_the_sign_of_the_difference() -> None:
    loss = of_nine().table.assign(score=lambda t: 1 - t["score"])
    result = analysis.method_test(loss, higher_is_better=False)
    first = say(result)[0]
    assert result["estimate"].iloc[0] < 0
    assert re.search(r"= −0\.05, 95% CI \[−.*t\(2\) = −", first), first


def test_names_cannot_bring_control_characters() -> None:
    assert "\x1b" not in say(located(metric="a\x1b[31m"))[0]


def test_other_tables_and_styles_are_refused() -> None:
    with pytest.raises(InputError, match="keep all of its columns"):
        say(pd.DataFrame({"estimate": [1.0]}))
    with pytest.raises(InputError, match="no style 'mla'"):
        say(located(), style="mla")  # type: ignore[arg-type]


def shapes(*verdicts: str) -> dict[str, object]:
    """Return the row about these models of which each is shown to have one of these shapes."""
    blank = dict.fromkeys(("estimate", "low", "high"), 0.0)
    rows = [
        {"model": f"m{i}", "family": "f", "verdict": verdict, "direction": "hump", **blank}
        | {"p": 0.001 if verdict == "hump" else 0.9, "p_shape": 0.001}
        for i, verdict in enumerate(verdicts)
    ]
    return fixed_shapes(rows, 0.05)


@pytest.mark.parametrize(
    ("verdicts", "reason"),
    [
        (("hump",) * 3, "each of 3 profiles is shown to be a hump"),
        (("monotone",) * 3, "each of 3 profiles is shown to be a monotone curve"),
        (("several peaks",) * 2, "each of 2 profiles is shown to have several peaks"),
        (("plateau",), "the one profile is shown to be a plateau"),
        (("hump", "trough"), "of 2 profiles: 1 hump and 1 trough"),
        (
            ("trough", "trough", "several peaks", "undecided", "undecided"),
            "of 5 profiles: 1 with several peaks, 2 troughs and 2 undecided",
        ),
    ],
)
def test_reasons_name_shapes_as_english_does(verdicts: tuple[str, ...], reason: str) -> None:
    assert shapes(*verdicts)["reason"] == reason


def test_models_that_differ_in_shape_are_said_to() -> None:
    row = shapes("hump", "hump", "monotone")
    assert row["verdict"] == "mixed"
    said = RESULTS["u_shape_test"]()
    (text,) = say(pd.DataFrame([said.iloc[0].to_dict() | row]))
    assert text.startswith("The curves of 3 models (")
    assert (
        "had mixed shapes, not all of them humps (of 3 profiles: 2 humps and 1 monotone curve)"
        in text
    )
    assert "undecided" not in text


def test_sentences_give_the_p_that_the_verdict_rests_on() -> None:
    row = RESULTS["control_test"]().iloc[0].to_dict()
    row |= {"p": 0.41, "p_not": 0.002, "p_same": 0.7, "verdict": "not learned"}
    (text,) = say(pd.DataFrame([row]))
    assert "p = .002" in text
    assert ".410" not in text
    assert ".700" not in text
    (text,) = say(pd.DataFrame([row | {"verdict": "undecided", "p_not": np.nan}]))
    assert "p = .410" in text
    (text, *_) = say(RESULTS["dose_response"]().assign(effect=0.31, p=0.002))
    assert "largest effect beyond the sham = 0.31, p = .002" in text


def test_one_of_a_kind_is_singular() -> None:
    one = simulate_scores(families=(1,), noise_sd=0.001, seed=1)
    found = [analysis.localization_test(one, scope=None), analysis.control_test(one, scope=None)]
    found.append(analysis.u_shape_test(one, scope=None))
    lone = simulate_scores(families=(2,), seed=1)
    found.append(analysis.invariance_test(lone, n_boot=39))
    found.append(analysis.literature_test(pd.DataFrame({"source": ["a"], "depth": [0.5]})))
    text = " ".join(sentence for table in found for sentence in say(table))
    assert "in 1 family" in text
    assert "(1 source; at least 3 are needed)" in text
    assert not re.search(r"\b1 (\w+ ){0,2}(models|families|sources|topics|profiles)\b", text), text
    (few,) = simulate_scores(families=(1,), seed=1).profiles()
    assert fault(replace(few, n_topics=1)) == "only 1 topic; an error needs at least 3"
    assert "not a hump but a plateau" in not_learned("plateau")
    assert "not a hump but a monotone curve" in not_learned("monotone")


def not_learned(shape: str) -> str:
    """Return the reason for which a profile of this shape has not learned a hump."""
    nothing = np.empty(0)
    contrast = Contrast(0.1, 0.01, 0.2, 0.1, nothing, nothing, 5.0)
    return str(_decide("trained - untrained", contrast, shape, "none", 0.05)["reason"])


def test_all_pairs_of_models_are_no_pair() -> None:
    whole, *pairs = say(analysis.invariance_test(of_nine(), scope="these models"))
    assert "in each of these models" in whole or "between these models" in whole
    assert "all (" not in whole
    assert all(re.search(r"(in|between) \w+ and \w+ \(", pair) for pair in pairs)


def test_a_difference_within_the_margins_is_said_beside_sameness() -> None:
    row = analysis.invariance_test(of_nine(), scope="these models").iloc[1].to_dict()
    reason = "the curves are within 10% of the rise, though a difference is shown"
    row |= {"verdict": "invariant", "reason": reason, "p": 0.0004, "p_curve": 0.001}
    (text,) = say(pd.DataFrame([row]))
    assert f"was the same ({reason}): " in text
    assert "p of equal shape = .001, p of a difference < .001" in text


def test_methods_count_models_and_say_what_was_not_tested() -> None:
    table = RESULTS["method_test"]()
    said = dict(zip(table["test"], say(table), strict=True))
    assert said["Mann-Whitney"].endswith("n = 18 values.")
    assert said["sign flips"].endswith("n = 9 models of 3 families.")
    lone = analysis.method_test(simulate_scores(families=(1, 1), methods=("a", "b")), a="a", b="b")
    said = dict(zip(lone["test"], say(lone), strict=True))
    assert said["method x family"].startswith(
        "Whether the effect of the method differs between families (score, method x family, models "
        "like these) is undecided (no family with two models, or one only): n = 2 models"
    )


def test_no_two_rows_are_about_the_same() -> None:
    rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    study = replace(of_two(), run={**of_two().run, "study": {"preregistered": rules}})
    for table in (specification_table(study), RESULTS["control_test"]()):
        said = [text.partition(" is undecided (")[0].partition(": ")[0] for text in say(table)]
        assert len(set(said)) == len(said)
