"""Which column plays which role: names by synonym, without case, or as the caller says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from analysis.loading.options import REPETITIONS, Options, hint
from study.read import InputError

#: Names of columns by role, in small letters and digits.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "model": ("model", "modelname", "modelid", "checkpoint", "lm", "llm", "network", "hfmodel"),
    "family": ("family", "modelfamily", "architecture", "arch", "modelseries"),
    "layer": (
        *("layer", "layers", "layeridx", "layerindex", "layerid", "layernum", "layernumber"),
        *("block", "blockidx", "blockindex", "layerno", "hookedlayer"),
    ),
    "depth": (
        *("depth", "reldepth", "relativedepth", "layerdepth", "normalizeddepth", "normdepth"),
        *("depthfraction", "depthfrac", "fractionaldepth", "depthshare", "relativelayer"),
        *("depthpct", "depthpercent", "depthpercentage", "relativedepthpct", "pctdepth"),
    ),
    "n_layers": (
        *("nlayers", "nlayer", "numlayers", "totallayers", "numhiddenlayers", "layercount"),
        *("nblocks", "numblocks", "numberoflayers", "modellayers"),
    ),
    "n_params": ("nparams", "params", "parameters", "numparams", "numparameters", "modelsize"),
    "instruct": ("instruct", "isinstruct", "instructiontuned", "istuned", "ischat"),
    "concept": (
        *("concept", "emotion", "trait", "class", "category", "behavior", "behaviour", "task"),
        *("attribute", "property", "feature", "relation", "conceptname", "dataset", "label"),
    ),
    "method": (
        *("method", "pooling", "probe", "probetype", "extraction", "position", "tokenposition"),
        *("component", "readout", "arm", "aggregation"),
    ),
    "metric": ("metric", "measure", "metricname", "scoretype"),
    "score": ("score", "value", "meanscore", "scoremean", "result", "y"),
    "weights": ("weights", "initialization", "modelweights"),
    "labels": ("labels", "labeltype", "control"),
    "precision": ("dtype", "quantization", "weightprecision"),
    "se": ("se", "sem", "stderr", "standarderror", "stderror", "scorese", "seofmean"),
    "sd": ("sd", "std", "stddev", "standarddeviation", "scorestd", "scoresd"),
    "n": ("n", "ntest", "nsamples", "numsamples", "nexamples", "numexamples", "nitems", "support"),
    "topic": ("topic", "template", "passage"),
    "bootstrap": ("bootstrap", "bootstrapid", "boot", "bootid", "bootstrapsample", "resample"),
    "replicate": ("replicate", "rep", "replicateid"),
    "split": ("split", "splitid", "splitseed", "repeat", "trainseed"),
    "fold": ("fold", "cvfold", "foldid", "foldidx", "kfold"),
    "seed": ("seed", "randomseed", "run", "runid", "probeseed"),
}
#: Measures that are larger where classes or concepts are better told apart.
HIGHER = (
    *("auc", "auroc", "rocauc", "aucroc", "testauc", "valauc", "meanauc", "accuracy", "acc"),
    *("testaccuracy", "testacc", "valaccuracy", "valacc", "probeaccuracy", "probeacc", "meanacc"),
    *("meanaccuracy", "balancedaccuracy", "balancedacc", "heldoutaccuracy", "cvaccuracy", "cvacc"),
    *("f1", "f1score", "macrof1", "microf1", "f1macro", "testf1", "separation", "separability"),
    *("separationscore", "crossnobis", "silhouette", "silhouettescore", "dprime", "cohensd"),
    *("fisher", "fisherratio", "selectivity", "snr", "mcc", "kappa", "r2", "rsquared", "testr2"),
    *("averageprecision", "ap", "map", "mrr", "informationgain", "mutualinformation", "mi"),
    *("pearson", "pearsonr", "spearman", "spearmanr", "precision", "recall", "successrate"),
)
#: Measures of which only the user knows which way is better, or that may go either way.
ASK = (
    *("loss", "testloss", "valloss", "nll", "crossentropy", "error", "mse", "mae", "rmse"),
    *("perplexity", "ppl", "distance", "cosine", "cosinesimilarity", "cos", "similarity", "norm"),
    *("entropy", "kl", "kldivergence", "divergence", "bits", "mdl", "brier", "cosinedistance"),
    *("euclidean", "euclideandistance", "l2", "anisotropy", "rank", "surprisal", "bce", "logloss"),
    *("errorrate", "eer", "misclassification", "misclassificationrate", "wer", "cer", "fpr", "fnr"),
    *("falsepositiverate", "falsenegativerate", "negloglikelihood"),
    *("negativeloglikelihood", "jsd", "jensenshannon", "wasserstein", "daviesbouldin"),
)
#: Names that are no measures of separation, and smaller where it is surer.
_P_VALUES = ("pvalue", "pval")
#: Proportions, whose standard error follows from the number of items.
SHARES = (*(m for m in HIGHER if "acc" in m), "successrate", "recall")
_TRAIN = re.compile(r"^(train|training)")
#: What is left of the name of a limit or interval beside its measure's: low, 95cihigh, cilower95.
_LIMIT = re.compile(
    r"(\d|pct)*(ci|low|lower|high|upper|min|max|var|variance|iqr)"
    r"(\d|pct|ci|low|lower|high|upper|bound|limit)*"
)

#: The part of a name that says it is a spread or a limit of what the rest names.
_SPREAD = re.compile(r"(^|[_. -])(std|sd|se|sem|stderr|ci|low|high|min|max|var)(?=[_. -]|$)")


def key_of(name: object) -> str:
    """Return a name in small letters and digits, a percent sign as "pct".

    >>> key_of("Relative Depth (%)"), key_of("probe_acc")
    ('relativedepthpct', 'probeacc')
    """
    text = str(name).lower().replace("%", "pct").replace("²", "2")
    return re.sub(r"[^a-z0-9]", "", text)


def role_of(name: object) -> str | None:
    """Return the role of a column by its name; measures have the role "score".

    Examples
    --------
    >>> role_of("Layer"), role_of("probe_acc"), role_of("fold"), role_of("comment")
    ('layer', 'score', 'fold', None)
    """
    key = key_of(name)
    for role, names in SYNONYMS.items():
        if key in names:
            return role
    return "score" if is_metric(name) else None


def is_metric(name: object) -> bool:
    """Say whether a name is that of a known measure (of held-out data, not of training data)."""
    key = key_of(name)
    return any(k in HIGHER or k in ASK for k in (key, key.removesuffix("mean")))


def metric_of(column: str) -> str:
    """Return what a column measures: a known measure loses "mean", others keep their names.

    Examples
    --------
    >>> metric_of("accuracy_mean"), metric_of("test.auc"), metric_of("probe_x.mean")
    ('accuracy', 'auc', 'probe_x')
    >>> metric_of("geometric_mean")
    'geometric_mean'
    """
    head, _, tail = column.rpartition(".")
    if head and key_of(tail) == "mean":
        return metric_of(head)
    bare = re.sub(r"[_ -]+mean$", "", tail, flags=re.I)
    return bare if is_metric(bare) else tail


def direction_of(metric: str) -> int | None:
    """Return +1 for a measure that is larger where better separated, None where one must ask.

    Examples
    --------
    >>> direction_of("Probe accuracy"), direction_of("cosine"), direction_of("mine")
    (1, None, 1)
    """
    if key_of(metric) in HIGHER:
        return 1
    asks = key_of(metric) in (*ASK, *_P_VALUES) or _words(metric) & set(ASK)
    return None if asks or key_of(metric).endswith(("loss", "distance")) else 1


def directions_in(
    table: pd.DataFrame, where: str, options: Options, assumed: dict[str, None] | None = None
) -> dict[str, int]:
    """Return +1 or -1 for each metric: as the caller says, or else as its name tells.

    Where neither says it, larger is taken as better, and `assumed` is told.
    """
    given, out = options.higher_is_better, {}
    for metric in table["metric"].unique():
        said = given.get(metric) if isinstance(given, Mapping) else given
        way = direction_of(metric) if said is None else 1 if said else -1
        if way is None:
            raise InputError(
                f"{where}: metric {metric!r}: is larger better separated? give "
                f"{hint('higher_is_better', {metric: False})}, or true"
            )
        if (
            said is None
            and assumed is not None
            and not {key_of(metric), *_words(metric)} & set(HIGHER)
        ):
            assumed[
                f"larger {metric} is taken as better separated; otherwise give "
                f"{hint('higher_is_better', {metric: False})}"
            ] = None
        out[metric] = way
    return out


def _words(metric: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", str(metric).lower()))


def roles_of(frame: pd.DataFrame, columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Return the column of each role; those of measures are left to the layout.

    Parameters
    ----------
    frame : DataFrame
    columns : mapping of str to str
        What the caller says; names match without case where only one does.
    where : str
        The file, for messages.

    Raises
    ------
    InputError
        If a column is not there, or two columns may play one role.
    """
    found = {role: _named(frame, name, role, where) for role, name in columns.items()}
    taken = set(found.values())
    candidates: dict[str, list[str]] = {}
    for column in frame.columns:
        if column in taken:
            continue
        role = role_of(column)
        if role == "precision" and pd.api.types.is_numeric_dtype(frame[column]):
            role = "score"
        if role == "labels" and not _control_words(frame[column]):
            role = "concept"
        if role in ("depth", "n_layers", "se", "sd", "n") and not is_numeric(frame[column]):
            role = None
        if role == "score" and key_of(column) not in SYNONYMS["score"]:
            continue
        if role and role not in found:
            candidates.setdefault(role, []).append(str(column))
    for role, names in candidates.items():
        names = _telling(frame, names, role)
        if len(names) > 1:
            raise InputError(
                f"{where}: columns {' and '.join(map(repr, names))} may each be the {role}; give "
                f"{hint('columns', {role: names[0]})}"
            )
        if names:
            found[role] = names[0]
    return found


def _telling(frame: pd.DataFrame, names: list[str], role: str) -> list[str]:
    """Leave out candidates that say nothing: of one value, or the same as another's."""
    if len(names) < 2:
        return names
    exact = [n for n in names if key_of(n) == role.replace("_", "")]
    if exact and role in ("layer", "depth", "model", "score"):
        return exact[:1]
    varying = [n for n in names if len(frame[n].unique()) > 1]
    if role in ("concept", "method", "model"):
        return varying or names[:1]
    return names


def _named(frame: pd.DataFrame, name: str, role: str, where: str) -> str:
    if name in frame.columns:
        return name
    alike = [str(c) for c in frame.columns if key_of(c) == key_of(name)]
    if len(alike) == 1:
        return alike[0]
    raise InputError(
        f"{where}: no column {name!r} for the {role}; there are "
        f"{', '.join(map(str, frame.columns))}"
    )


def is_numeric(values: pd.Series) -> bool:
    """Return whether a column holds numbers; true and false are none."""
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _control_words(values: pd.Series) -> bool:
    return set(values.astype(str).str.lower()) <= {"true", "shuffled", "random", "permuted", "real"}


def measures_in(frame: pd.DataFrame, taken: Iterable[str]) -> list[str]:
    """Return the columns of numbers that bear the name of a measure, or of a measure and a word.

    Measures of training data are not among them.

    Examples
    --------
    >>> measures_in(pd.DataFrame({"layer": [0], "acc": [0.5], "train_acc": [1.0]}), ["layer"])
    ['acc']
    """
    out = []
    for column in frame.columns:
        if (
            column in set(taken)
            or not is_numeric(frame[column])
            or _TRAIN.match(str(column).lower())
        ):
            continue
        if is_metric(column) or is_metric(metric_of(str(column))):
            out.append(str(column))
    return out


def spread_columns(frame: pd.DataFrame, measure: str) -> dict[str, str]:
    """Return the columns of a measure's standard error and SD: acc_se, acc_std, std_acc.

    Examples
    --------
    >>> spread_columns(pd.DataFrame({"acc_mean": [0.5], "acc_std": [0.1]}), "acc_mean")
    {'sd': 'acc_std'}
    """
    keys = {key_of(c): str(c) for c in frame.columns if is_numeric(frame[c])}
    full, bare = _bases(measure)
    # The SD of a test accuracy is that of the accuracy, unless there is a test accuracy too.
    bases = (full, bare) if f"test{bare}" in keys else (full, bare, f"test{bare}")
    out: dict[str, str] = {}
    for role in ("se", "sd"):
        for base in bases:
            for word in SYNONYMS[role]:
                for key in (base + word, word + base):
                    if key in keys:
                        out.setdefault(role, keys[key])
    return out


def limit_columns(frame: pd.DataFrame, measure: str) -> list[str]:
    """Return the columns of a measure's limits and the like, which give no standard error.

    Examples
    --------
    >>> limit_columns(pd.DataFrame({"acc": [0.5], "acc_low": [0.4], "high": [0.6]}), "acc")
    ['acc_low']
    >>> limit_columns(pd.DataFrame({"acc": [0.5], "acc_low": [0.4], "high": [0.6]}), "")
    ['high']
    """
    out = []
    for column in frame.columns:
        key = key_of(column)
        rests = [key.removeprefix(base) for base in _bases(measure) if key.startswith(base)]
        rests += [key.removesuffix(base) for base in _bases(measure) if key.endswith(base)]
        if is_numeric(frame[column]) and any(map(_LIMIT.fullmatch, rests)):
            out.append(str(column))
    return out


def columns_beside(frame: pd.DataFrame, scores: Iterable[str]) -> set[str]:
    """Return the columns that tell of the spread of scores, or of a known measure.

    A name such as "high" or "max" alone says little: "high_arousal" may be a concept.

    Examples
    --------
    >>> table = pd.DataFrame({"joy": [0.5], "joy_se": [0.1], "high_arousal": [0.6]})
    >>> sorted(columns_beside(table.assign(acc_std=0.1), table.columns))
    ['acc_std', 'joy_se']
    """
    out = set(limit_columns(frame, ""))
    for score in scores:
        out |= {*spread_columns(frame, score).values(), *limit_columns(frame, score)}
    named = [c for c in frame.columns if _SPREAD.search(c)]
    return out | {c for c in named if is_metric(_TRAIN.sub("", _SPREAD.sub("", c.lower())))}


def _bases(measure: str) -> tuple[str, str]:
    """Return a measure's key, and the one without "mean"."""
    key = key_of(measure)
    return key, key.removeprefix("mean").removesuffix("mean")


def repetition_roles(roles: Mapping[str, str]) -> list[str]:
    """Return the kinds of repetitions among the roles, the most telling first."""
    return [kind for kind in REPETITIONS if kind in roles]
