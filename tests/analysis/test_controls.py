"""Whether a hump is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, Scores, claims_table, control_test, u_shape_test
from analysis.planning.simulate import combine, simulate_scores
from analysis.profiles.controls import CONTRASTS, adjusted_bulge_weights, bulge_weights

FAMILIES = (1, 1, 1, 1)


def study(shape: str = "hump", seed: int = 1, **columns: str) -> Scores:
    return simulate_scores(families=FAMILIES, shape=shape, noise_sd=0.005, seed=seed, **columns)  # type: ignore[arg-type]


def named(scores: Scores, metric: str) -> Scores:
    assert scores.replicates is not None
    return replace(
        scores,
        table=scores.table.assign(metric=metric, labels="true"),
        replicates=scores.replicates.assign(metric=metric, labels="true"),
        directions={metric: 1},
    )


def found(tests: pd.DataFrame, contrast: str, level: str = "profile") -> set[str]:
    rows = (tests["contrast"] == contrast) & (tests["level"] == level)
    return set(tests.loc[rows, "verdict"])


@pytest.mark.parametrize("level", ["profile", "models"])
@pytest.mark.parametrize(
    ("trained", "untrained", "verdict"),
    [
        ("hump", "decay", "learned"),
        ("hump", "flat", "learned"),
        ("hump", "hump", "undecided"),
        ("trough", "decay", "not learned"),
        ("flat", "decay", "undecided"),
        ("saturating", "decay", "undecided"),
    ],
)
def test_trained_against_untrained(trained: str, untrained: str, verdict: str, level: str) -> None:
    both = combine(study(trained), study(untrained, weights="untrained"))
    verdicts = found(control_test(both), "trained - untrained", level)
    if verdict == "undecided":
        assert "learned" not in verdicts
    else:
        assert verdicts == {verdict}


def precise(height: float = 0.1, seed: int = 1, **columns: str) -> Scores:
    """Make humps at one place, known to 1% of their height."""
    spread = {"vertex": 0.0, "level": 0.03, "height": 0.001}
    return simulate_scores(
        families=(3, 3, 3), noise_sd=0.0005, height=height, model_sd=spread, seed=seed, **columns
    )  # type: ignore[arg-type]


def test_not_learned_needs_sameness_shown() -> None:
    over = "models"
    same = combine(precise(), precise(weights="untrained"))
    tests = control_test(same)
    assert found(tests, "trained - untrained", over) == {"not learned"}
    row = tests[(tests["level"] == over) & (tests["contrast"] == "trained - untrained")].iloc[0]
    assert row["p_same"] < 0.05
    # A control with two thirds of the hump once passed as having none.
    for height in (0.065, 0.085):
        less = combine(precise(), precise(height, weights="untrained"))
        assert found(control_test(less), "trained - untrained", over) == {"learned"}
    # Equivalence within so small a margin cannot be shown.
    assert "not learned" not in found(control_test(same, delta=0.001), "trained - untrained")


def test_p_not_is_that_of_the_fact_that_contradicts() -> None:
    def over(scores: Scores) -> pd.Series:
        tests = control_test(scores).set_index(["level", "contrast"])
        return tests.loc[("models", "trained - untrained")]

    same = over(combine(precise(), precise(weights="untrained")))
    assert same["p_not"] == same["p_same"]
    other = combine(study("trough"), study("decay", weights="untrained"))
    shapes = u_shape_test(other)
    row, p_shape = over(other), shapes.loc[shapes["level"] == "models", "p_shape"].iloc[0]
    assert row["verdict"] == "not learned"
    # The trough's bulge differs from the control's too, with a p of its own.
    assert row["p_not"] == p_shape != row["p"]
    rules = {"target": 0.5, "delta": 0.1, "alpha": 0.05}
    asked = replace(other, run={"study": {"preregistered": rules}})
    claim = claims_table(asked, n_boot=99).set_index("key").loc["learned"]
    assert claim["verdict"] == "contradicted"
    assert claim["p"] == p_shape


def test_true_against_shuffled() -> None:
    both = combine(study(), study("flat", labels="shuffled"))
    assert found(control_test(both), "true - shuffled") == {"learned"}
    both = combine(precise(), precise(labels="shuffled"))
    assert found(control_test(both), "true - shuffled", "models") == {"not learned"}


def test_middle_against_layer_0() -> None:
    assert found(control_test(study("saturating")), "middle - layer 0") == {"learned"}
    assert found(control_test(study("decay")), "middle - layer 0") == {"not learned"}
    tests = control_test(study("saturating"))
    row = tests[tests["contrast"] == "middle - layer 0"].iloc[0]
    assert row["estimate"] == pytest.approx(row["profile"] - row["control"])
    assert row["estimate"] == pytest.approx(0.092, abs=0.03)


def test_anisotropy_as_covariate() -> None:
    own = simulate_scores(families=(2, 2), noise_sd=0.005, seed=1)
    unrelated = combine(own, named(study("flat", labels="shuffled"), "anisotropy"))
    assert found(control_test(unrelated), "given anisotropy") == {"learned"}
    same = combine(own, named(own, "anisotropy"))
    assert "learned" not in found(control_test(same), "given anisotropy")


def test_a_hump_that_anisotropy_has_too_is_not_learned() -> None:
    def bent(table: pd.DataFrame) -> pd.DataFrame:
        # Not a quadratic: what anisotropy explains can be told from the quadratic's bulge.
        added = 0.05 * np.exp(-(((table["depth"] - 0.5) / 0.15) ** 2))
        return table.assign(score=table["score"] + added)

    own = simulate_scores(families=(1, 1), noise_sd=0.001, seed=1)
    assert own.replicates is not None
    own = replace(own, table=bent(own.table), replicates=bent(own.replicates))
    tests = control_test(combine(own, named(own, "anisotropy")))
    assert found(tests, "given anisotropy") == {"not learned"}


def test_bulge_given_a_covariate_is_that_of_the_full_regression() -> None:
    rng = np.random.default_rng(0)
    depth = np.linspace(0, 1, 15)
    covariate, y = rng.normal(size=(2, 15))
    X = np.column_stack([np.ones(15), depth, depth**2, covariate])
    weights = adjusted_bulge_weights(depth, covariate)
    assert weights is not None
    assert weights @ y == pytest.approx(-np.linalg.lstsq(X, y, rcond=None)[0][2] / 4)
    assert adjusted_bulge_weights(depth, 2 + depth**2) is None
    assert bulge_weights(depth) @ (1 - (depth - 0.5) ** 2) == pytest.approx(0.25)


def test_estimate_is_the_paired_difference_of_bulges() -> None:
    both = combine(study(), study("decay", weights="untrained"))
    tests = control_test(both)
    row = tests[tests["contrast"] == "trained - untrained"]
    np.testing.assert_allclose(row["estimate"], row["profile"] - row["control"])
    profiles, models = row[row["level"] == "profile"], row[row["level"] == "models"].iloc[0]
    assert models["estimate"] == pytest.approx(profiles["estimate"].mean())
    assert models["df"] == 3


def test_missing_controls_are_undecided_and_say_so() -> None:
    tests = control_test(study())
    assert tests["contrast"].value_counts().to_dict() == dict.fromkeys(CONTRASTS, 5)
    for contrast, reason in (
        ("trained - untrained", "no untrained twin"),
        ("true - shuffled", "no shuffled labels"),
        ("given anisotropy", "no anisotropy"),
    ):
        rows = tests[(tests["contrast"] == contrast) & (tests["level"] == "profile")]
        assert rows["reason"].str.contains(reason).all()
        assert (rows["verdict"] == "undecided").all()


def test_a_control_that_cannot_be_analysed_is_undecided_and_says_so() -> None:
    both = combine(study(), study("flat", weights="untrained"))
    both.table.loc[both.table["weights"] == "untrained", "score"] = 0.5
    tests = control_test(both)
    rows = tests[(tests["contrast"] == "trained - untrained") & (tests["level"] == "profile")]
    assert (rows["reason"] == "the control: the scores are constant over layers").all()


def test_twins_of_several_seeds_enter_with_their_mean() -> None:
    second = study("decay", seed=5, weights="untrained")
    first = study("decay", weights="untrained")
    assert second.replicates is not None
    layers = first.table.groupby("model")["n_layers"].first()
    if not layers.equals(second.table.groupby("model")["n_layers"].first()):
        second = replace(first, table=first.table.assign(score=first.table["score"] + 0.01))
    assert second.replicates is not None
    other = replace(
        second,
        table=second.table.assign(seed=1),
        replicates=second.replicates.assign(seed=1),
    )
    tests = control_test(combine(study(), first, other))
    row = tests[(tests["contrast"] == "trained - untrained") & (tests["level"] == "models")]
    assert row["n_models"].tolist() == [4]
    assert row["verdict"].tolist() == ["learned"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="only metric is anisotropy"):
        control_test(named(study(), "anisotropy"))
    with pytest.raises(InputError, match="'trained' is not in the table"):
        control_test(study(weights="untrained"))
    with pytest.raises(InputError, match="'auc' is not in the table"):
        control_test(study(), metric="auc")
