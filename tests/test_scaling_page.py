"""docs/scaling.md says what the committed figures say."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from tests.scripts import script


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return script("benchmarks/scaling_page.py")


@pytest.fixture(scope="module")
def figures(page: ModuleType) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_csv(page.RESULTS), pd.read_csv(page.EXTRACTION)


def needs(table: pd.DataFrame, *parts: str) -> None:
    missing = sorted(set(parts) - set(table["part"]))
    if missing:
        pytest.skip(f"not measured yet: python benchmarks/scaling.py --only {missing}")


def test_the_page_agrees_with_the_figures(
    page: ModuleType, figures: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """If not: python benchmarks/scaling.py --write."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.sections(*figures)) == text


def test_exponents_are_those_of_power_laws(page: ModuleType) -> None:
    x = pd.Series([1.0, 10.0, 100.0])
    assert page.exponent(x, 3 * x**1.5) == pytest.approx(1.5)
    assert page.power_law(x, 3 * x**1.5, 1000.0) == pytest.approx(3 * 1000**1.5)


def test_reading_is_linear_in_texts_and_flat_in_memory(
    page: ModuleType, figures: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table = figures[0]
    needs(table, "texts")
    read = table[(table["part"] == "texts") & (table["step"] == "read")]
    assert read["x"].min() == 100
    assert read["x"].max() == 10_000
    assert 0.95 <= page.exponent(read["x"], read["seconds"]) <= 1.1
    assert page.exponent(read["x"], read["peak_mb"]) < 0.05


def test_a_thousand_models_take_less_than_90_seconds_and_four_gigabytes(
    figures: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table = figures[0]
    largest = table[(table["part"] == "models analyzed") & (table["x"] == 1000)]
    assert set(largest["step"]) >= {"load", "fit_curves", "u_shape_test", "invariance_test"}
    assert largest["seconds"].sum() < 90
    assert largest["peak_mb"].max() < 4096


def test_the_plan_follows_its_assumptions(
    page: ModuleType, figures: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    needs(figures[0], "model", "width", "study", "models analyzed")

    def lines(**given: float) -> dict[str, float]:
        text = page.plan(*figures, page.Assumptions(**given))
        cells = [row.strip("| ").split(" | ") for row in text.splitlines()[2:]]
        return {name: float(value.split(" x ")[0].replace(",", "")) for name, value in cells}

    plain, dearer = lines(), lines(gpu_hour=4.0)
    name = "dollars for the GPUs"
    assert dearer.pop(name) == pytest.approx(2 * plain.pop(name), rel=0.01)
    assert dearer == plain
    half, faster = lines(models=500), lines(tflops=624)
    wanted = ["tokens read", "activations kept, GB", "hours of weights arriving"]
    np.testing.assert_allclose([half[k] * 2 for k in wanted], [plain[k] for k in wanted], rtol=0.02)
    gpu = "GPU hours of reading and writing"
    assert faster[gpu] == pytest.approx(plain[gpu] / 2, rel=0.01)


def test_a_page_without_its_places_is_refused(page: ModuleType) -> None:
    with pytest.raises(ValueError, match="one place for 'plan'"):
        page.filled("no markers", {"plan": "text"})
