"""Errors from a user's own repetitions: what their spread is worth, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, SourceWarning, read_scores, u_shape_test
from analysis.profiles.uncertainty import profile_errors, quadratic_weights, standard_error
from tests import forms

pytestmark = pytest.mark.filterwarnings("ignore::analysis.loading.options.SourceWarning")


def fold_table(n: int = 5, noise: float = 0.01, kind: str = "fold") -> pd.DataFrame:
    rng = np.random.default_rng(3)
    parts = []
    for fold in range(n):
        t = forms.truth()
        parts.append(
            t.assign(**{kind: fold}, accuracy=t["accuracy"] + noise * rng.normal(size=len(t)))
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("kind", "factor"), [("topic", 1 / 8), ("fold", 1 / 8 + 1 / 7), ("split", 1 / 8 + 0.25)]
)
def test_repetitions_give_the_covariance_of_the_mean(kind: str, factor: float) -> None:
    table = fold_table(8, kind=kind)
    scores = read_scores(table)
    (profile, *_) = scores.select(model="gpt2").profiles()
    errors = profile_errors(profile)
    wide = table[table["model"] == "gpt2"].pivot(index=kind, columns="layer", values="accuracy")
    expected = np.cov(wide.to_numpy(), rowvar=False) * factor
    assert (errors.kind, errors.df) == (kind, 7)
    # 400 normal draws: a variance has a Monte Carlo error of 7%.
    np.testing.assert_allclose(np.diag(errors.cov), np.diag(expected), rtol=0.35)
    np.testing.assert_allclose(np.trace(errors.cov), np.trace(expected), rtol=0.15)
    assert set(u_shape_test(scores)["error"]) == {kind, "models"}


def test_seeds_are_said_to_show_less_than_texts_do() -> None:
    table = fold_table(6, kind="seed")
    with pytest.warns(SourceWarning, match="how training varies, not how texts do"):
        scores = read_scores(table)
    errors = profile_errors(next(scores.select(model="gpt2").profiles()))
    assert (errors.kind, errors.df) == ("seed", 5)
    wide = table[table["model"] == "gpt2"].pivot(index="seed", columns="layer", values="accuracy")
    expected = np.trace(np.cov(wide.to_numpy(), rowvar=False)) / 6
    np.testing.assert_allclose(np.trace(errors.cov), expected, rtol=0.15)
    assert scores.table["seed"].eq(0).all()


@pytest.mark.parametrize("kind", ["bootstrap", "replicate"])
def test_bootstrap_samples_are_draws_of_the_estimate(kind: str) -> None:
    draws = fold_table(40, kind=kind)
    draws["accuracy"] += 0.05  # the bootstrap of a cross-validated score has another level
    both = pd.concat([forms.truth(), draws], ignore_index=True)
    wide = draws[draws["model"] == "gpt2"].pivot(index=kind, columns="layer", values="accuracy")
    variance = np.trace(np.cov(wide.to_numpy(), rowvar=False))
    for resampled, df in ((None, 39), (8, 7)):
        scores = read_scores(both, resampled=resampled)
        assert_same(scores.table["score"], read_scores(forms.truth()).table["score"])
        errors = profile_errors(next(scores.select(model="gpt2").profiles()))
        assert (errors.kind, errors.df) == (kind, df)
        # A bootstrap of T units understates the variance by (T - 1) / T.
        np.testing.assert_allclose(np.trace(errors.cov), variance * (df + 1) / df, rtol=0.15)
    with pytest.warns(SourceWarning, match=r"of at least 40 topics or texts.*--resampled"):
        alone = read_scores(draws)
    center = alone.select(model="gpt2").table.sort_values("layer")["score"]
    np.testing.assert_allclose(center, wide.mean().to_numpy())
    with pytest.raises(InputError, match=r"'gpt2' has .* numbers in all rows, other models"):
        read_scores(both[(both["model"] != "gpt2") | both[kind].notna()])


def assert_same(a: pd.Series, b: pd.Series) -> None:
    np.testing.assert_allclose(a.to_numpy(), b.to_numpy())


def test_draws_without_a_concept_are_of_the_mean_over_concepts() -> None:
    concepts = [forms.truth().assign(concept=c) for c in ("joy", "fear")]
    scores = read_scores(pd.concat([*concepts, fold_table(25, kind="replicate")]))
    assert sorted(scores.table["emotion"].unique()) == ["fear", "joy"]
    assert scores.replicates is not None


def test_strict_refuses_a_fold_that_lacks_a_layer() -> None:
    table = fold_table()
    short = table[(table["model"] != "gpt2") | (table["fold"] != 2) | (table["layer"] < 9)]
    assert "gpt2: 1 folds lack a layer" in " ".join(read_scores(short).run["notes"])
    with pytest.raises(InputError, match=r"gpt2: fold 2 lacks a layer"):
        read_scores(short, strict=True)


def test_standard_errors_are_the_diagonal_and_the_correlation_is_said() -> None:
    table = forms.truth().assign(accuracy_std=0.1, n=100)
    scores = read_scores(table, correlation=0.5)
    errors = profile_errors(next(scores.profiles()))
    np.testing.assert_allclose(np.sqrt(np.diag(errors.cov)), 0.01, rtol=0.2)
    correlation = errors.cov[:-1, 1:].diagonal() / np.sqrt(
        np.diag(errors.cov)[1:] * np.diag(errors.cov)[:-1]
    )
    assert 0.4 < correlation.mean() < 0.6
    assert errors.kind == "standard error"
    assert "correlation of 0.5" in scores.run["repetitions"]["said"]


@pytest.mark.parametrize("n_layers", [12, 48])
def test_an_unknown_correlation_is_the_one_with_the_largest_error(n_layers: int) -> None:
    depth = np.arange(n_layers + 1) / n_layers
    table = pd.DataFrame(
        {"model": "m", "depth": depth, "accuracy": 0.5 + depth, "accuracy_se": 0.1}
    )
    curvature = quadratic_weights(depth)[2]
    errors = [
        float(standard_error(curvature, profile_errors(next(scores.profiles())).cov))
        for scores in (read_scores(table, correlation=c) for c in (None, 0.0, 0.5, 0.9))
    ]
    assert errors[0] > 0.9 * max(errors[1:])  # of 400 draws
    assert errors[0] > 1.2 * min(errors[1:])
    assert "largest error" in " ".join(read_scores(table).run["notes"])


def test_a_share_with_its_number_has_an_error_and_an_sd_without_has_none() -> None:
    shares = read_scores(forms.truth().assign(n_test=400))
    assert shares.replicates is not None
    assert "sqrt(p (1 - p) / n)" in " ".join(shares.run["notes"])
    alone = read_scores(forms.truth().assign(accuracy_std=0.1))
    assert alone.replicates is None
    assert "an SD without n" in " ".join(alone.run["notes"])


REPORTED = forms.truth().assign(accuracy_std=0.1, n=100)


@pytest.mark.parametrize(
    ("score", "spread", "metric"),
    [
        ("accuracy", "accuracy_std", "accuracy"),
        ("accuracy_mean", "accuracy_std", "accuracy"),
        ("accuracy.mean", "accuracy.std", "accuracy"),
        ("probe_x", "probe_x_std", "probe_x"),
        ("score_mean", "score_std", "score"),
        ("value", "value_sd", "score"),
    ],
)
def test_an_sd_belongs_to_its_score_however_the_score_is_chosen(
    score: str, spread: str, metric: str
) -> None:
    expected = read_scores(REPORTED).replicates
    assert expected is not None
    table = REPORTED.rename(columns={"accuracy": score, "accuracy_std": spread})
    for columns in ({}, {"score": score}):
        scores = read_scores(table.assign(train_accuracy_std=9.0), columns=columns)
        assert list(scores.run["metrics"]) == [metric]
        assert scores.replicates is not None
        assert_same(scores.replicates["score"], expected["score"])


@pytest.mark.parametrize("columns", [{"sd": "mine"}, {"sd": "mine", "score": "accuracy"}])
def test_the_spread_that_the_caller_names_is_the_one(columns: dict[str, str]) -> None:
    table = REPORTED.rename(columns={"accuracy_std": "mine"})
    expected, others = read_scores(table, columns={"sd": "mine"}).replicates, ("se", "accuracy_se")
    assert expected is not None
    for other in others:
        scores = read_scores(table.assign(**{other: 0.5}), columns=columns)
        assert scores.replicates is not None
        assert_same(scores.replicates["score"], expected["score"])


def test_metrics_that_share_a_name_without_mean_keep_both_names() -> None:
    both = forms.truth().assign(accuracy_mean=0.5)
    assert set(read_scores(both).run["metrics"]) == {"accuracy", "accuracy_mean"}


def test_a_standard_error_that_is_missing_is_named_with_its_metric() -> None:
    table = forms.truth().assign(f1=0.5, accuracy_se=0.1)
    with pytest.raises(InputError, match="standard error of f1 for 'gpt2' at layer 0 is missing"):
        read_scores(table)


@pytest.mark.parametrize("score", ["accuracy", "probe_x"])
def test_limits_of_a_score_are_said_not_to_be_used(score: str) -> None:
    low, high = f"{score}_lower", f"{score}_ci95_high"
    table = forms.truth().rename(columns={"accuracy": score})
    table = table.assign(**{low: 0.4, high: 0.6, "train_acc_low": 0.1, "ci_low": 0.2})
    for columns in ({}, {"score": score}):
        scores = read_scores(table, columns=columns)
        assert scores.replicates is None
        said = f"columns {low}, {high}, train_acc_low, ci_low are not used"
        assert any(note.startswith(said) for note in scores.run["notes"])
    assert "are not used" not in " ".join(read_scores(forms.truth()).run["notes"])


def test_spreads_are_no_metrics() -> None:
    table = REPORTED.rename(columns={"accuracy": "probe_x", "accuracy_std": "probe_x_std"})
    scores = read_scores(table.assign(probe_y=0.5, probe_y_std=0.1), wide="metric")
    assert set(scores.run["metrics"]) == {"probe_x", "probe_y"}


def test_a_spread_beside_models_side_by_side_is_said_not_to_be_used() -> None:
    table = forms.truth().pivot(index="layer", columns="model", values="accuracy")
    notes = read_scores(table.reset_index().assign(gpt2_std=0.1), missing="drop").run["notes"]
    assert any(note.startswith("column gpt2_std is not used") for note in notes)
