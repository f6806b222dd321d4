"""The tables that pass between the two sides: their columns, and the words that stand in them."""

from __future__ import annotations

#: Ways of getting activations, in the order of the work and of the reports.
METHODS = ("comprehension", "generation", "rereading")
WEIGHTS = ("trained", "untrained")
LABELS = ("true", "shuffled")
#: Metrics in the order of the reports, the primary one first.
METRIC_ORDER = ("auc", "crossnobis", "cosine", "anisotropy")

#: What makes a profile, in the order in which tables are sorted and labelled.
PROFILE = ("model", "weights", "seed", "precision", "method", "labels", "metric")
#: What describes the model of a profile; constant within a model.
MODEL = ("family", "n_params", "n_layers", "instruct")

#: `scores.parquet`: one row per profile, emotion and layer.
SCORE_COLUMNS = ("study", *PROFILE, *MODEL, "emotion", "layer", "depth", "score")
#: `replicates.parquet`: topic-bootstrap replicates of the mean over emotions.
REPLICATE_COLUMNS = ("study", *PROFILE, *MODEL, "layer", "depth", "replicate", "score")

#: What makes a trial of steering.
TRIAL = ("model", "layer", "emotion", "scenario", "seed", "strength")
#: What a trial repeats of the baseline text that it is compared with.
BASELINE = ("text", "perplexity", "distinct_2", "share_foreign_script")
#: `trials.parquet`: one row per steered text. Each judge adds score_JUDGE and baseline_score_JUDGE.
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
#: Written beside them; no test needs these.
MORE_TRIAL_COLUMNS = (
    "n_layers",
    "instruct",
    "precision",
    "distinct_1",
    "share_non_ascii",
    "baseline_share_foreign_script",
)
