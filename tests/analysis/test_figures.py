"""Figures draw what the tables say, in one style; tables and numbers are typeset correctly."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotnine as p9
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis import figures, wording
from analysis.claims.specification_curve import specification_table
from analysis.claims.table import claims_table
from analysis.figures import style
from analysis.loading.scores import Scores
from analysis.planning.simulate import combine, simulate_scores
from analysis.profiles.curves import fit_curves
from analysis.profiles.localization import localization_test
from reports import calibration_text
from study.read import InputError
from tests.planted_trials import make_trials

RULES = {"target": 0.5, "delta": 0.1, "alpha": 0.05}


def study(families: tuple[int, ...] = (2, 1), seed: int = 1, **options: object) -> Scores:
    """Make a study of trained models with untrained twins."""
    settings: dict[str, object] = {"families": families, "seed": seed, "n_replicates": 40}
    settings |= {"methods": ("comprehension", "generation"), "n_emotions": 3, **options}
    real = simulate_scores(**settings)  # type: ignore[arg-type]
    twins = simulate_scores(
        families=families,
        seed=seed,
        n_emotions=3,
        n_replicates=40,
        shape="decay",
        methods=("comprehension",),
        weights="untrained",
    )
    metrics = {"score": {"label": "made-up measure", "higher_is_better": True, "chance": 0.5}}
    return replace(
        combine(real, twins), run={"study": {"preregistered": RULES}, "metrics": metrics}
    )


def built(figure: p9.ggplot) -> p9.ggplot:
    """Draw a figure without a screen; raise if it cannot be drawn."""
    figure.draw()
    return figure


@pytest.fixture(scope="module")
def small() -> Scores:
    return study()


def test_profile_table_keeps_units_and_bands(small: Scores) -> None:
    table = figures.profile_table(small)
    one = table[(table["model"] == "m1") & (table["weights"] == "trained")]
    one = one[one["method"] == "generation"].set_index("layer")
    raw = small.select(model="m1", weights="trained", method="generation").table
    mean = raw.groupby("layer")["score"].mean()
    assert np.allclose(one["score"], mean)
    assert (one["low"] < one["score"]).mean() > 0.9
    assert (one["high"] > one["score"]).mean() > 0.9
    mirrored = replace(
        small,
        table=small.table.assign(score=-small.table["score"]),
        replicates=small.replicates.assign(score=-small.replicates["score"]),
        directions={"score": -1},
    )
    turned = figures.profile_table(mirrored)
    assert np.allclose(turned["score"], -table["score"])
    assert np.allclose(turned["low"], -table["high"])


@pytest.mark.parametrize("sign", [1, -1])
def test_bands_contain_their_curve_and_stay_within_the_range(small: Scores, sign: int) -> None:
    # Replicates of a ceiling are mostly 1 too, and a few are lower, so their mean is below 1.
    table, draws = small.table.assign(metric="auc"), small.replicates.assign(metric="auc")
    rare = draws["replicate"] == draws["replicate"].min()
    draws["score"] = np.where(rare, 0.8, 1.0)
    low = draws["layer"] == 1
    draws.loc[low, "score"] = draws.loc[low, "replicate"] / draws["replicate"].max()
    table["score"] = np.where(table["layer"] == 1, 0.9, 1.0)
    if sign < 0:  # as a cosine is read: -1 separates best
        table["metric"] = draws["metric"] = "cosine"
        table["score"], draws["score"] = -table["score"], -draws["score"]
    metric = {1: "auc", -1: "cosine"}[sign]
    found = figures.profile_table(
        replace(small, table=table, replicates=draws, directions={metric: sign})
    )
    assert (found["low"] <= found["score"]).all()
    assert (found["high"] >= found["score"]).all()
    assert np.abs(found[["low", "high"]]).to_numpy().max() == 1
    percent = replace(
        small,
        table=table.assign(score=100 * table["score"]),
        replicates=draws.assign(score=100 * draws["score"]),
        directions={metric: sign},
    )
    assert np.abs(figures.profile_table(percent)[["low", "high"]]).to_numpy().max() > 100


def test_every_figure_draws(small: Scores) -> None:
    fits = fit_curves(small, weights=None)
    pooled = localization_test(small)
    trained = fits[fits["weights"] == "trained"]
    for figure in (
        figures.depth_profiles(small, "score", fits),
        figures.metric_profiles(small),
        figures.peak_forest(trained, pooled),
        figures.emotion_heatmap(small, "score"),
        figures.cover(small, "score", fits),
        figures.method_comparison(small, "score"),
        figures.specification_curve(specification_table(small), 0.5, 0.1),
    ):
        drawn = built(figure)
        width, height = drawn.theme.getp("figure_size")
        assert width in (style.WIDTH, 9)
        assert 1 < height < 10


def test_figures_of_many_models_fit_on_a_page() -> None:
    many = study(families=(7, 7, 6), n_emotions=17, methods=("all",), n_replicates=0)
    fits = fit_curves(many, weights=None)
    for figure in (
        figures.depth_profiles(many, "score", fits),
        figures.peak_forest(fits, None),
        figures.emotion_heatmap(many, "score", "all"),
    ):
        assert figure.theme.getp("figure_size")[1] <= style.MAX_HEIGHT
    assert style.panel_columns(20) == 6
    # Of 17 concepts, the means of the families are shown, each over its own models.
    heat = figure.data
    assert list(heat["panel"].cat.categories) == sorted(many.table["family"].unique())
    some = heat[(heat["panel"] == heat["panel"].iloc[0]) & (heat["depth"] == 0)]
    mine = many.table[(many.table["family"] == heat["panel"].iloc[0]) & (many.table["depth"] == 0)]
    expected = mine[mine["weights"] == "trained"].groupby("emotion")["score"].mean()
    found = some.set_index(some["emotion"].astype(str))["score"]
    assert np.allclose(found.loc[expected.index], expected)


HUB = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "google/gemma-3-270m-it",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "EleutherAI/pythia-410m-deduped",
    "Qwen/Qwen2.5-0.5B-Instruct",
    "meta-llama/Llama-3.2-1B",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "m" * 40,
)


def titles(figure: p9.ggplot) -> list[str]:
    """Return the titles of a figure's panels; fail if one is cut or touches another."""
    drawn = figure.draw()
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    bold = [
        text
        for text in drawn.findobj(Text)
        if text.get_fontweight() == "bold" and text.get_text().strip()
    ]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in bold]
    for text, box in zip(bold, boxes, strict=True):
        assert min(box.x0, box.y0) >= 0, text.get_text()
        assert box.x1 <= drawn.bbox.width, text.get_text()
        assert box.y1 <= drawn.bbox.height, text.get_text()
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    return [text.get_text() for text in bold]


@pytest.mark.parametrize("n", [2, 9, 20])
def test_long_names_of_models_are_neither_cut_nor_overlap(n: int) -> None:
    names = [f"{HUB[i % len(HUB)]}{'-v2' * (i // len(HUB))}" for i in range(n)]
    plain = simulate_scores(families=(1,) * n, n_emotions=2, methods=("all",), n_replicates=0)
    rename = dict(zip(plain.table["model"].unique(), names, strict=True))
    table = plain.table.assign(model=plain.table["model"].map(rename))
    scores = replace(plain, table=table)
    fits = fit_curves(scores.select(model=names[0]))
    long = replace(scores, table=table.assign(emotion=table["emotion"] + " and disappointment"))
    drawn = [
        figures.cover(scores, "score", fits, "all"),
        figures.depth_profiles(scores, "score", fits),
        figures.emotion_heatmap(long, "score", "all"),
    ]
    if n <= style.FEW:  # figures with a row or column per model
        shares = {"share": 0.1, "low": 0.0, "high": 0.2}
        valence = pd.DataFrame([{"model": m, "depth": d, **shares} for m in names for d in (0, 1)])
        trials = make_trials(models=n, scenarios=2, sweep_effect=0.1).table
        trials["model"] = trials["model"].map({f"m{i}": name for i, name in enumerate(names)})
        drawn += [
            figures.depth_profiles(scores, "score", fits, columns=5, size=(8.4, 3.2)),
            figures.valence_course(valence),
            figures.dose_curves(trials),
            figures.depth_curves(trials),
            figures.regime_map(trials),
        ]
    for figure in drawn:
        shown = {title.replace("\n", "") for title in titles(figure)}
        assert all(any(title.endswith(name) for title in shown) for name in names)


def test_figures_survive_a_small_study() -> None:
    alone = study(families=(1,), methods=("comprehension",))
    fits = fit_curves(alone)
    built(figures.depth_profiles(alone, "score", fits))
    built(figures.peak_forest(fits, localization_test(alone)))
    built(figures.specification_curve(specification_table(alone), 0.5, 0.1))
    assert built(figures.method_comparison(alone, "score")).data["text"].str.contains("one").all()


def test_forest_shows_an_unbounded_interval_and_a_missing_peak(small: Scores) -> None:
    fits = fit_curves(small)
    fits.loc[0, ["peak", "peak_low", "peak_high"]] = [1.4, 0.8, np.inf]
    fits.loc[0, "shape"] = "monotone"
    drawn = built(figures.peak_forest(fits))
    assert drawn.data["high"].max() == 1
    assert (drawn.data["kind"] == "no peak inside").sum() == 1


def test_untrained_twins_are_dashed_grey(small: Scores) -> None:
    figure = figures.depth_profiles(small, "score")
    line = next(s for s in figure.scales if "linetype" in s.aesthetics)
    color = next(s for s in figure.scales if "color" in s.aesthetics)
    for scale, look in ((line, "dashed"), (color, style.GRAY)):
        looks = scale.palette(len(scale.limits))
        assert looks["untrained"] == look
        assert list(looks.values()).count(look) == 1


def test_calibration_figure_needs_its_columns() -> None:
    with pytest.raises(InputError, match="no column 'rate'"):
        figures.calibration(pd.DataFrame({"test": ["a"], "kind": ["naive"]}))
    rates = pd.DataFrame({"test": ["a", "a"], "kind": ["naive", "calibrated"], "rate": [0.7, 0.05]})
    built(figures.calibration(rates))


def test_false_rates_are_the_worst_of_their_kind(tmp_path: Path) -> None:
    assert calibration_text.false_rates(tmp_path).empty
    (tmp_path / "calibration.csv").write_text(
        "about,situation,test,quantity,rate,mc_error,n_studies,bound,target,met\n"
        'shape,flat,"u_shape_test, models",turn,0.02,0.01,400,<=,0.06,yes\n'
        'shape,flat,"u_shape_test, models","turn, ordinary",0.35,0.02,400,,,\n'
        'shape,decay,"u_shape_test, models",turn,0.09,0.01,400,<=,0.06,no\n'
        'shape,decay,"u_shape_test, models","turn, ordinary",0.3,0.02,400,,,\n'
        "families,shared,localization_test,interval covers,0.95,0.01,400,>=,0.92,yes\n"
    )
    found = calibration_text.false_rates(tmp_path).set_index("kind")["rate"]
    assert found.to_dict() == {"calibrated": 0.09, "naive": 0.35}
    table = calibration_text.rates_table(tmp_path)
    assert "1 of 2" in str(table)
    assert "0.950" in str(table)


def test_what_calibration_costs_and_misses_is_computed(tmp_path: Path) -> None:
    assert not calibration_text.cost_sentence(tmp_path)
    assert not calibration_text.bare_sentence(tmp_path)
    (tmp_path / "families_power.csv").write_text(
        "test,n_models,n_families,per_family,over_models,over_families,restored_by\n"
        "`a`,9,5,2,0.8,0.6,7\n`b`,9,5,2,0.8,0.7,6\n"
        "`a`,12,3,4,0.8,0.3,\n`b`,12,3,4,0.8,0.4,5\n`a`,20,5,4,0.8,0.7,7\n"
    )
    said = calibration_text.cost_sentence(tmp_path)
    assert "by a with 9 models of 5 families, in 60% instead of 80% (7 families); b" in said
    assert "a with 12 models of 3 families, in 30% instead of 80% (no number tried)" in said
    assert "20 models" not in said
    (tmp_path / "calibration.csv").write_text(
        "about,situation,test,quantity,rate,mc_error,n_studies,bound,target,met\n"
        + "".join(
            "bare curves,"
            f'"bare hump of 5 SD, AR {ar}, 8 layers",u,hump,{rate},0.01,400,>=,0.7,{met}\n'
            for ar, rate, met in ((0.0, 0.2, "no"), (0.5, 0.69, "within error"), (0.97, 1, "yes"))
        )
        + 'bare curves,"bare linear of 5 SD, AR 0.0, 12 layers",u,monotone,0.0,0.01,400,>=,0.1,no\n'
    )
    said = calibration_text.bare_sentence(tmp_path).replace("\\", "")
    assert "Of the 4 targets" in said
    assert "in curves of 8 and 12 layers: the test finds 0% to 20% of the shapes" in said
    assert "where the targets are 10% to 70%" in said
    assert "No test" not in said
    (tmp_path / "bare_bound.csv").write_text(
        "n_layers,humps,bound,mc_error\n"
        "8,in the middle,1.1,0.01\n8,31 humps,0.8,0.01\n"
        "12,in the middle,1.2,0.01\n12,31 humps,0.99,0.01\n"
    )
    said = calibration_text.bare_sentence(tmp_path).replace("\\", "")
    assert "the worst of 31 humps reaches at most 80% of its target in 8 layers. Replic" in said


def test_typeset_aligns_and_groups() -> None:
    table = pd.DataFrame(
        {"m": ["a", "a", "b"], "x": [1.0, -0.001, np.nan], "ok": [True, False, True]}
    )
    lines = wording.typeset(table, {"m": "Model", "x": "Value", "ok": "OK"}, group=1).split("\n")
    assert lines[1].count("-:|") == 1
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["a", "", "b"]
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["1.00", "0.00", wording.NONE]
    assert [line.split("|")[3].strip() for line in lines[2:]] == ["yes", "no", "yes"]


def test_claims_need_a_preregistered_rule() -> None:
    with pytest.raises(InputError, match=r"no study\.preregistered\.target"):
        claims_table(simulate_scores(families=(1, 1)))


def test_claims_follow_the_truth() -> None:
    real = study(
        families=(2, 2, 2, 2, 2), model_sd={"vertex": 0.02}, method_effect=0.05, noise_sd=0.005
    )
    found = claims_table(real, n_boot=199).set_index("key")
    assert found.loc[["every", "overall", "peak", "learned"], "verdict"].eq("supported").all()
    assert found.loc["method", "verdict"] in ("supported", "undecided")
    assert found.loc[["steering", "regimes"], "verdict"].eq("not testable").all()
    tested = found.dropna(subset=["p"])
    assert (tested["p_holm"] >= tested["p"]).all()
    fixed = found.loc[["every", "overall", "learned"], "verdict_these"]
    assert fixed.eq("supported").all()
    assert found.loc["peak", "verdict_these"] != "contradicted"  # each of ten must be shown
    assert found["reason"].str.len().gt(0).all()
    away = study(families=(2, 2, 2, 2, 2), model_sd={"vertex": 0.02}, vertex=0.75, noise_sd=0.005)
    elsewhere = claims_table(away, n_boot=199).set_index("key").loc["peak"]
    assert elsewhere[["verdict", "verdict_these"]].eq("contradicted").all()
    plateau = study(families=(2, 2, 2), shape="saturating", height=0.05)
    found = claims_table(plateau, n_boot=199).set_index("key")
    assert not found.loc[["every", "overall", "learned"], "verdict"].eq("supported").any()


def test_one_model_leaves_most_claims_untestable() -> None:
    found = claims_table(study(families=(1,)), n_boot=99).set_index("key")
    untestable = found.loc[["overall", "peak", "architecture", "scale", "method"], "verdict"]
    assert untestable.eq("not testable").all()
