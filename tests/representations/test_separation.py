import itertools

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import prec_from_residuals
from rsatoolbox.rdm import calc_rdm_crossnobis
from sklearn.metrics import roc_auc_score

from representations.metrics import METRICS, Layer, auc, crossnobis
from representations.separation import separation_scores, shuffled_within_topics
from study.read import InputError
from study.tables import METRIC_ORDER

pytestmark = pytest.mark.arithmetic

E, T, L, D = 6, 12, 5, 40
EMOTIONS = np.repeat([f"e{i}" for i in range(E)], T)
TOPICS = np.tile([f"t{i:02}" for i in range(T)], E)


def planted(strength, massive=False, seed=0, width=D, layers=L):
    """Activations with topic offsets at all layers and a signal only at layer 3."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(E * T, layers, width))
    values += rng.normal(size=(T, layers, width))[np.tile(np.arange(T), E)]
    values[:, 3] += strength * rng.normal(size=(E, width))[np.repeat(np.arange(E), T)]
    if massive:  # three dimensions that hold nearly all of the variance
        values[:, :, :3] = 200 * values[:, :, :3] + 3000
    return values.astype(np.float32)


def profiles(values, **options):
    scores, _ = separation_scores(values, EMOTIONS, TOPICS, replicates=2, **options)
    return scores.groupby(["metric", "layer"])["score"].mean().unstack()


@pytest.mark.parametrize("massive", [False, True])
def test_a_planted_signal_is_found_where_it_is(massive):
    values = planted(0.7, massive)
    if massive:
        variance = values[:, 3].var(axis=0)
        assert variance[:3].sum() / variance.sum() > 0.9
    found = profiles(values, metrics=["auc", "crossnobis"])
    assert found.idxmax(axis=1).to_dict() == {"auc": 3, "crossnobis": 3}
    assert found.loc["auc", 3] > 0.8
    assert found.loc["auc"].drop(3).between(0.3, 0.7).all()


def test_without_a_signal_scores_are_at_chance():
    values = planted(0.0, seed=1, width=120, layers=60)
    found = profiles(values, metrics=["auc", "crossnobis"])
    error = found.std(axis=1) / np.sqrt(60)
    assert abs(found.loc["auc"].mean() - 0.5) < 3.5 * error["auc"]
    assert abs(found.loc["crossnobis"].mean()) < 3.5 * error["crossnobis"]
    # The Monte Carlo error is small enough to reveal a bias.
    assert error["auc"] < 0.01
    assert error["crossnobis"] < 0.002


def test_shuffled_labels_lose_the_signal():
    values = planted(0.7, layers=4)
    shuffled = shuffled_within_topics(EMOTIONS, TOPICS, seed=3)
    assert sorted(shuffled) == sorted(EMOTIONS)
    for topic in set(TOPICS):
        assert sorted(np.array(shuffled)[topic == TOPICS]) == sorted(EMOTIONS[topic == TOPICS])
    scores, _ = separation_scores(values, shuffled, TOPICS, metrics=["auc"], replicates=2)
    assert abs(scores[scores["layer"] == 3]["score"].mean() - 0.5) < 0.12


# rsatoolbox fills an integer array with NaN on its way.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_crossnobis_equals_rsatoolbox():
    rng = np.random.default_rng(1)
    e, t, width = 5, 9, 12
    emotion, topic = np.repeat(np.arange(e), t), np.tile(np.arange(t), e)
    fold = np.arange(t) % 3
    texts = rng.normal(size=(e * t, width)) @ rng.normal(size=(width, width))
    texts += rng.normal(size=(e, width))[emotion] + rng.normal(size=(t, width))[topic]
    layer = Layer(texts, emotion, topic, e, t, fold, texts[:0], topic[:0])
    ours = crossnobis(layer, np.ones((1, t)))[0]
    centered = layer.standardized(np.float64)
    for code in range(t):
        centered[topic == code] -= centered[topic == code].mean(axis=0)
    distances = []
    for pair in itertools.combinations(range(3), 2):
        rest = ~np.isin(fold[topic], pair)
        residual = centered[rest].copy()
        for code in range(e):
            residual[emotion[rest] == code] -= residual[emotion[rest] == code].mean(axis=0)
        precision = prec_from_residuals(
            residual, dof=int(rest.sum()) - e - 3 + 1, method="shrinkage_diag"
        )
        data = Dataset(
            centered[~rest], obs_descriptors={"emotion": emotion[~rest], "fold": fold[topic][~rest]}
        )
        rdm = calc_rdm_crossnobis(data, "emotion", noise=precision, cv_descriptor="fold")
        distances.append(rdm.get_matrices()[0])
    theirs = np.mean(distances, axis=0).sum(axis=1) / (e - 1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_auc_equals_one_computed_by_hand():
    values = planted(0.3, seed=4)[:, 3]
    emotion, topic = np.unique(EMOTIONS, return_inverse=True)[1], np.tile(np.arange(T), E)
    fold = np.arange(T) % 4
    layer = Layer(values, emotion, topic, E, T, fold, values[:0], topic[:0])
    ours = auc(layer, np.ones((1, T), dtype=np.float32))[0]
    for code in range(E):
        areas = []
        for number in range(4):
            train = fold[topic] != number
            inside = values[train].astype(float)
            scaled = (values - inside.mean(axis=0)) / inside.std(axis=0)
            own = emotion == code
            direction = scaled[train & own].mean(axis=0) - scaled[train & ~own].mean(axis=0)
            areas.append(roc_auc_score(own[~train], (scaled @ direction)[~train]))
        assert ours[code] == pytest.approx(np.mean(areas), abs=1e-6)


def test_cosine_and_anisotropy_equal_their_definitions():
    values, quiet = planted(0.5, seed=5), planted(0.0, seed=6)[:24]
    scores, _ = separation_scores(
        values,
        EMOTIONS,
        TOPICS,
        metrics=["cosine", "anisotropy"],
        replicates=2,
        neutral=quiet,
        neutral_topics=TOPICS[:24],
    )

    def cosines(rows):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit @ unit.T

    means = np.array([values[f"e{i}" == EMOTIONS, 2].mean(axis=0) for i in range(E)])
    expected = (cosines(means).sum(axis=1) - 1) / (E - 1)
    here = scores[(scores["layer"] == 2) & (scores["metric"] == "cosine")]
    np.testing.assert_allclose(here["score"], expected, rtol=1e-5)
    apart = TOPICS[:24, None] != TOPICS[None, :24]
    here = scores[(scores["layer"] == 2) & (scores["metric"] == "anisotropy")]
    assert here["emotion"].tolist() == ["neutral"]
    assert here["score"].item() == pytest.approx(cosines(quiet[:, 2])[apart].mean(), abs=1e-5)


def test_a_replicate_is_the_score_of_the_resampled_topics():
    """Weights on topics equal copies of texts, with all copies of a topic in its fold."""
    values = planted(0.4, seed=7)[:, 3]
    emotion, topic = np.unique(EMOTIONS, return_inverse=True)[1], np.tile(np.arange(T), E)
    counts = np.random.default_rng(0).multinomial(T, np.full(T, 1 / T))
    fold = np.arange(T) % 3
    layer = Layer(values, emotion, topic, E, T, fold, values[:0], topic[:0])
    weighted = auc(layer, counts[None].astype(np.float32))[0]
    copies = np.repeat(np.arange(len(values)), counts[topic])
    # Copies belong to the same topic, so a copied topic is a cell with several texts.
    copied = Layer(
        values[copies], emotion[copies], topic[copies], E, T, fold, values[:0], topic[:0]
    )
    np.testing.assert_allclose(
        weighted, auc(copied, np.ones((1, T), dtype=np.float32))[0], atol=1e-6
    )


def test_replicates_spread_as_the_score_does_over_studies():
    rng = np.random.default_rng(8)
    estimates, spreads = [], []
    for seed in range(30):
        scores, replicates = separation_scores(
            planted(0.25, seed=int(rng.integers(1 << 30)))[:, 3:4],
            EMOTIONS,
            TOPICS,
            metrics=["cosine"],
            replicates=60,
            seed=seed,
        )
        estimates.append(scores["score"].mean())
        spreads.append(replicates["score"].std())
    assert np.mean(spreads) == pytest.approx(np.std(estimates), rel=0.5)


def test_denoising_removes_what_neutral_texts_share():
    rng = np.random.default_rng(9)
    values, quiet = planted(0.6, seed=9), planted(0.0, seed=10)[:24]
    nuisance = rng.normal(size=(1, L, D))
    values = values + 30 * rng.normal(size=(E * T, 1, 1)) * nuisance
    quiet = quiet + 30 * rng.normal(size=(24, 1, 1)) * nuisance
    options = {"metrics": ["auc"], "neutral": quiet, "neutral_topics": TOPICS[:24]}
    plain = profiles(values, **options).loc["auc", 3]
    denoised = profiles(values, denoise=0.5, **options).loc["auc", 3]
    assert denoised > plain + 0.05


def test_missing_stories_leave_finite_scores_without_bias():
    values = planted(0.0, seed=11, layers=40)
    kept = np.random.default_rng(0).random(E * T) > 0.2
    scores, replicates = separation_scores(
        values[kept], EMOTIONS[kept], TOPICS[kept], metrics=["auc", "crossnobis"], replicates=20
    )
    assert np.isfinite(scores["score"]).all()
    assert np.isfinite(replicates["score"]).all()
    found = scores.groupby(["metric", "layer"])["score"].mean().unstack()
    found = found.drop(columns=3)
    error = found.std(axis=1) / np.sqrt(found.shape[1])
    assert abs(found.loc["auc"].mean() - 0.5) < 3.5 * error["auc"]
    assert abs(found.loc["crossnobis"].mean()) < 3.5 * error["crossnobis"]


def test_the_same_seed_gives_the_same_scores():
    values = planted(0.3)
    first = separation_scores(values, EMOTIONS, TOPICS, replicates=5, seed=1)
    again = separation_scores(values, EMOTIONS, TOPICS, replicates=5, seed=1)
    for a, b in zip(first, again, strict=True):
        assert a.equals(b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["silhouette"]}, "unknown metric 'silhouette'; choose from auc"),
        ({"metrics": ["anisotropy"]}, "anisotropy needs neutral texts"),
        ({"emotions": ["e0"] * (E * T)}, "needs at least two"),
        ({"topics": ["t0"] * (E * T)}, "occurs in only one topic"),
        ({"topics": TOPICS[:-1]}, "one of each for every text"),
        ({"activations": np.zeros((E * T, D))}, "not \\(texts, layers \\+ 1, width\\)"),
        ({"activations": np.full((E * T, 2, 3), np.nan)}, "not finite"),
        ({"denoise": 1.0, "neutral": planted(0)[:24], "neutral_topics": TOPICS[:24]}, "share of"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "activations": planted(0.1),
        "emotions": EMOTIONS,
        "topics": TOPICS,
        "replicates": 2,
    }
    with pytest.raises(InputError, match=message):
        separation_scores(**{**good, **change})


def test_constant_dimensions_and_layers_are_no_trouble():
    values = planted(0.4)
    values[:, :, 7] = 3.0
    values[:, 0] = 1.0  # a whole layer without variance
    found = profiles(values, metrics=["auc", "crossnobis", "cosine"])
    assert np.isfinite(found.to_numpy()).all()
    assert found.loc["auc", 0] == pytest.approx(0.5)
    assert found.loc["crossnobis", 0] == pytest.approx(0, abs=1e-12)


def test_two_folds_leave_no_noise_to_estimate_and_are_scored():
    assert profiles(planted(2.0), metrics=["crossnobis"], folds=2).idxmax(axis=1).item() == 3


def test_every_metric_has_its_place_in_the_order_of_reports():
    assert set(METRICS) == set(METRIC_ORDER)


def test_every_metric_declares_its_direction():
    assert {name: m.higher_is_better for name, m in METRICS.items()} == {
        "auc": True,
        "crossnobis": True,
        "cosine": False,
        "anisotropy": False,
    }
