"""The tables that the two sides exchange: their columns and the allowed words."""

from __future__ import annotations

#: Ways of getting activations, in the order of runs and reports.
METHODS = ("comprehension", "generation", "rereading", "crossreading", "ablation")
#: Methods that read the passages of the corpus; the others need stories.
OF_CORPUS = ("comprehension", "ablation")
#: Between the method crossreading and the writer's name, in the column method.
BY = " of "
WEIGHTS = ("trained", "untrained")
LABELS = ("true", "shuffled")
#: All metrics, in the order of the reports, primary metric first. `representations.metrics` has
#: one entry for each.
METRIC_ORDER = ("auc", "crossnobis", "cosine", "anisotropy")
#: The lowest and the highest value of the metrics that have them.
BOUNDS = {"auc": (0.0, 1.0), "cosine": (-1.0, 1.0), "anisotropy": (-1.0, 1.0)}
#: What ablation loses, beyond a control; `representations.lost` has one entry for each.
LOST = ("separation_lost", "prediction_lost")

#: Keys of a profile, in the order used for sorting and labeling tables.
PROFILE = ("model", "weights", "seed", "precision", "method", "labels", "metric")
#: Columns that describe the model of a profile; constant within a model.
MODEL = ("family", "n_params", "n_layers", "instruct")

#: `scores.parquet`: one row per profile, emotion and layer.
SCORE_COLUMNS = ("study", *PROFILE, *MODEL, "emotion", "layer", "depth", "score")
#: `replicates.parquet`: topic-bootstrap replicates of the mean over emotions.
REPLICATE_COLUMNS = ("study", *PROFILE, *MODEL, "layer", "depth", "replicate", "score")

#: Keys of a steering trial.
TRIAL = ("model", "layer", "emotion", "scenario", "seed", "strength")
#: Kinds of texts: steered with the emotion's vector or, as controls, with a random direction of the
#: same norm, isotropic or drawn from the residual stream's covariance.
KINDS = ("steered", "sham", "matched sham")
#: Columns that a trial repeats from its baseline text.
BASELINE = ("text", "perplexity", "distinct_2", "share_foreign_script")
#: `trials.parquet`: one row per steered or sham text. Each judge adds score_JUDGE and
#: baseline_score_JUDGE.
TRIAL_COLUMNS = (
    "study",
    *TRIAL,
    "kind",
    "family",
    "n_params",
    "place",
    "depth",
    "text",
    "baseline_text",
    "n_tokens",
    "perplexity",
    "baseline_perplexity",
    "distinct_2",
    "baseline_distinct_2",
    "share_foreign_script",
)
#: Further columns, which no test needs.
MORE_TRIAL_COLUMNS = (
    "n_layers",
    "instruct",
    "precision",
    "distinct_1",
    "share_non_ascii",
    "baseline_share_foreign_script",
)
