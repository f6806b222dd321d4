"""Tables at a URL, and reading some rows without the others."""

import io

import pandas as pd
import pytest

from analysis import load_scores
from analysis.loading import parquet
from study import write
from study.read import InputError
from tests.synthetic import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Nine models, each in its own row groups."""
    folder = make_study(tmp_path_factory.mktemp("made") / "study", n_emotions=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "ROWS", 200)
        for name in ("scores.parquet", "replicates.parquet"):
            table = pd.read_parquet(folder / name).sort_values("model", kind="stable")
            write.write_table(folder / name, table)
    return folder


@pytest.mark.parametrize(
    "levels",
    [
        {"model": "gpt-2-1"},
        {"model": ["gpt-2-1", "mistral-9"], "metric": "auc"},
        {"metric": ["auc", "cosine"], "weights": "untrained", "method": None},
        {"emotion": "e1", "layer": 3},
        {},
    ],
)
def test_rows_that_are_asked_for_are_those_that_select_keeps(levels, study):
    some, expected = load_scores(study, **levels), load_scores(study).select(**levels)
    pd.testing.assert_frame_equal(some.table, expected.table.reset_index(drop=True))
    if "layer" not in levels:
        pd.testing.assert_frame_equal(
            some.replicates.reset_index(drop=True).astype({"model": str}),
            expected.replicates.reset_index(drop=True).astype({"model": str}),
            check_categorical=False,
        )


def test_one_models_rows_do_not_cost_reading_all(study, monkeypatch):
    class Counted(io.FileIO):
        read_so_far = 0

        def readinto(self, buffer):
            count = super().readinto(buffer)
            Counted.read_so_far += count
            return count

        def read(self, size=-1):
            content = super().read(size)
            Counted.read_so_far += len(content)
            return content

    monkeypatch.setattr(parquet, "_opened", Counted)
    costs = []
    for levels in ({}, {"model": "gpt-2-1"}):
        Counted.read_so_far = 0
        load_scores(study, **levels)
        costs.append(Counted.read_so_far)
    assert costs[1] < costs[0] / 3


def test_a_url_gives_the_same_tables_and_fetches_only_what_it_needs(study):
    from study.read import locate

    there = locate("memory://tables/study")
    for path in study.iterdir():
        there.fs.pipe_file(f"{there.path}/{path.name}", path.read_bytes())
    for levels in ({}, {"model": "gpt-2-1"}):
        some, expected = (
            load_scores("memory://tables/study", **levels),
            load_scores(study, **levels),
        )
        pd.testing.assert_frame_equal(some.table, expected.table)
        pd.testing.assert_frame_equal(some.replicates, expected.replicates)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"model": "gpt-5"}, "model 'gpt-5' is not in the table; it has 'gemma-3'"),
        ({"color": "red"}, "no column 'color'; choose from study, model"),
        ({"model": "gpt-2-1", "metric": "auk"}, "metric 'auk' is not in the table"),
        ({"model": 3}, "model 3 is not in the table"),
        ({"metric": "anisotropy", "emotion": "e1"}, "no row has"),
    ],
)
def test_values_that_do_not_occur(levels, message, study):
    with pytest.raises(InputError, match=message):
        load_scores(study, **levels)


@pytest.mark.parametrize("url", ["memory://nowhere/study", "nonsense://a/b"])
def test_urls_without_a_study(url):
    with pytest.raises(InputError, match=url):
        load_scores(url)
