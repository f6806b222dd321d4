"""The depth where ablation loses most, beside the depth where separation peaks."""

import numpy as np
import pandas as pd
import pytest

from analysis import InputError, Scores, causal_profile, u_shape_test
from analysis.over_models.causal import without_ablation

FAMILIES = {"m1": "A", "m2": "B"}


def study(causal, separation, scale=1.0, noise=0.02, seed=0, families=FAMILIES, n_topics=12):
    """A study whose curves peak at these depths; topics add noise, alike in neighboring layers.

    Parameters
    ----------
    causal, separation : sequence of float, one per model
    scale : float or sequence of float, one per model
        Height of the profiles of loss; 0 is no loss.
    """
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_topics, np.full(n_topics, 1 / n_topics), size=200) / n_topics
    heights = np.broadcast_to(scale, len(families))
    rows, copies = [], []
    for number, (model, family) in enumerate(families.items()):
        n_layers = 24
        for method, metric, every, top, height in (
            ("ablation", "separation_lost", 3, causal[number], heights[number]),
            ("comprehension", "auc", 1, separation[number], 1.0),
        ):
            layer = np.arange(0, n_layers + (method != "ablation"), every)
            depth = layer / n_layers
            walk = rng.normal(size=(n_topics, len(layer))) * noise * 3
            walk = (walk + np.roll(walk, 1, axis=1)) / 2
            curve = height * (0.3 - 2 * (depth - top) ** 2)
            keys = {
                "study": "s",
                "model": model,
                "weights": "trained",
                "seed": 0,
                "precision": "float32",
                "method": method,
                "labels": "true",
                "metric": metric,
                "family": family,
                "n_params": 1e8,
                "n_layers": n_layers,
                "instruct": False,
            }
            here = {**keys, "layer": layer, "depth": depth}
            rows.append(
                pd.DataFrame({**here, "emotion": "all", "score": curve + walk.mean(axis=0)})
            )
            again = pd.DataFrame(here).loc[np.tile(np.arange(len(layer)), len(draws))]
            number_of = np.repeat(np.arange(1, len(draws) + 1), len(layer))
            copies.append(again.assign(replicate=number_of, score=(curve + draws @ walk).ravel()))
    topics = [f"t{i}" for i in range(n_topics)]
    directions = {"separation_lost": 1, "auc": 1}
    return Scores(pd.concat(rows), pd.concat(copies), directions, {"topics": topics})


def of(found, compared, **keys):
    rows = found[found["compared"] == compared]
    for name, value in keys.items():
        rows = rows[rows[name] == value]
    return rows


def test_one_place_for_loss_and_separation_is_told_from_two():
    found = causal_profile(study((0.5, 0.3), (0.5, 0.7), noise=0.005))
    each = of(found, "separation", scope="these models").set_index("model")
    assert each["verdict"].to_dict() == {"m1": "same depth", "m2": "another depth"}
    assert each.loc["m2", "estimate"] == pytest.approx(-0.4, abs=0.05)
    assert each.loc["m2", "high"] < -0.3
    assert each["depth"].to_numpy() == pytest.approx([0.5, 0.3], abs=0.05)
    assert each["separation_depth"].to_numpy() == pytest.approx([0.5, 0.7], abs=0.05)
    assert (each["shape"] == "hump").all()
    assert (each["p_lost"] < 1e-6).all()
    (between,) = of(found, "models").to_dict("records")
    assert between["verdict"] == "another depth"
    assert between["estimate"] == pytest.approx(0.2, abs=0.05)
    (like,) = of(found, "separation", scope="models like these").to_dict("records")
    assert like["verdict"] == "undecided"
    assert "two families" in like["reason"]


def test_models_that_lose_most_at_one_depth():
    found = causal_profile(study((0.5, 0.5), (0.5, 0.5), noise=0.005))
    (between,) = of(found, "models").to_dict("records")
    assert between["verdict"] == "same depth"
    assert between["p"] < 0.01


def test_families_decide_over_models_like_these():
    families = {f"m{i}": f"F{i}" for i in range(6)}
    found = causal_profile(study((0.5,) * 6, (0.52,) * 6, noise=0.005, families=families))
    (like,) = of(found, "separation", scope="models like these").to_dict("records")
    assert like["verdict"] == "same depth"
    assert like["n_families"] == 6


def test_without_a_loss_there_is_no_depth():
    found = causal_profile(study((0.5, 0.5), (0.5, 0.5), scale=0.0))
    assert (found["verdict"] == "undecided").all()
    each = of(found, "separation", scope="these models")
    assert each["reason"].str.startswith("nothing is shown to be lost").all()


def rates(n_studies):
    """Shares of wrong verdicts, of intervals that cover and of losses found where there is none."""
    families = {"m1": "A", "m2": "B", "m3": "C"}
    found = []
    for seed in range(n_studies):
        depths = (0.5, 0.4, 0.5), (0.5, 0.5, 0.5)
        scores = study(*depths, scale=(1, 1, 0), noise=0.03, seed=seed, families=families)
        each = of(causal_profile(scores), "separation", scope="these models").set_index("model")
        found.append(
            {
                "another": each.loc["m1", "verdict"] == "another depth",
                "same": each.loc["m2", "verdict"] == "same depth",
                "covers m1": each.loc["m1", "low"] <= 0 <= each.loc["m1", "high"],
                "covers m2": each.loc["m2", "low"] <= -0.1 <= each.loc["m2", "high"],
                "lost": each.loc["m3", "p_lost"] < 0.05,
            }
        )
    return pd.DataFrame(found).mean()


def test_size_and_coverage_at_the_demos_design():
    """Equal depths are called different, and depths a margin apart the same, in few studies."""
    found = rates(10)
    assert found[["another", "same", "lost"]].max() <= 0.3
    assert found[["covers m1", "covers m2"]].min() >= 0.7


def test_what_ablation_loses_is_a_curve_like_any_other_and_no_separation():
    scores = study((0.5, 0.3), (0.5, 0.7), noise=0.005)
    shapes = u_shape_test(scores, method="ablation")
    assert set(shapes.loc[shapes["level"] == "profile", "verdict"]) == {"hump"}
    plain = without_ablation(scores)
    assert set(plain.table["metric"]) == {"auc"}
    assert without_ablation(plain) is plain
    with pytest.raises(InputError, match="has no ablation; add it"):
        causal_profile(plain)


def test_a_difference_within_delta_does_not_speak_for_a_pair_in_doubt():
    """Two models are a little apart, surely; the third may be anywhere."""
    families = {"m1": "A", "m2": "B", "m3": "C"}
    tops = (0.46, 0.53, 0.66)
    sure = study(tops, tops, noise=0.0005, families=families)
    unsure = study(tops, tops, noise=0.1, families=families)

    def keep(table, other):
        third = table["model"] == "m3"
        return pd.concat([table[~third], other[other["model"] == "m3"]])

    mixed = Scores(
        keep(sure.table, unsure.table),
        keep(sure.replicates, unsure.replicates),
        sure.directions,
        sure.run,
    )
    (row,) = of(causal_profile(mixed), "models").to_dict("records")
    assert row["verdict"] == "undecided", row["reason"]
    assert row["p_apart"] > 0.05
    (two,) = of(causal_profile(sure), "models").to_dict("records")
    assert two["verdict"] == "another depth"
    assert f"{abs(two['estimate']):.2f}" in two["reason"]
    assert not two["low"] < 0 < two["high"]
