"""Measure how often each test is right, in situations where it could be wrong.

    python benchmarks/calibration.py --studies 40 --only "place: families"   # daily use
    python benchmarks/calibration.py --studies 400 --workers 16              # the whole table

Each row of results/calibration.csv is one quantity of one question in one situation: its rate over
simulated studies, the Monte Carlo error of the rate, the target, and whether it is met. Every study
has its own seed, so the figures do not depend on the number of workers. Answers are kept in
results/partial/ as they come, each under a hash of the code that it depends on: an interrupted run
can continue, and a change to one test invalidates only the answers of that test.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from code_hash import code_hash
from generator import Study
from joblib import Parallel, delayed
from questions import QUESTIONS, TOGETHER
from situations import SITUATIONS
from targets import Target
from workers import add_options, workers

HERE = Path(__file__).parent
OUT = HERE / "results" / "calibration.csv"
#: Studies per job: few enough to lose little, enough to be worth sending.
CHUNK = 10
COLUMNS = [
    "about",
    "situation",
    "test",
    "quantity",
    "rate",
    "mc_error",
    "n_studies",
    "bound",
    "target",
    "met",
]
#: A situation, its questions, and the first and last study.
Job = tuple[str, tuple[str, ...], int, int]


def answers(job: Job) -> list[dict[str, Any]]:
    """Draw the studies of one job, and ask each study the questions."""
    situation, tests, first, last = job
    numbers = range(first, last)
    seeds = ([zlib.crc32(situation.encode()), number] for number in numbers)
    studies = [SITUATIONS[situation].draw(np.random.default_rng(seed)) for seed in seeds]
    out = []
    for test in tests:
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = together(test, studies) or [asked(test, study) for study in studies]
        seconds = round((time.process_time() - start) / len(studies), 4)
        keys = {"situation": situation, "test": test, "code": code_hash(test, situation)}
        out += [
            {**keys, "study": number, "seconds": seconds, "answer": answer}
            for number, answer in zip(numbers, found, strict=True)
        ]
    return out


def together(test: str, studies: list[Study]) -> list[dict[str, Any]]:
    """Return the answers to a question about all studies at once; empty if it needs each alone."""
    try:
        return TOGETHER[test](studies) if test in TOGETHER else []
    except Exception:  # of one of them, which will say so when it is asked alone
        return []


def asked(test: str, study: Study) -> dict[str, Any]:
    """Return the answer to one question; a crash is recorded, and the other studies go on."""
    try:
        answer: dict[str, Any] = QUESTIONS[test](study)
    except Exception as error:
        return {"crashed": 1.0, "error": f"{type(error).__name__}: {error}"}
    return answer


def wanted(only: str, studies: int) -> list[Job]:
    """Return the jobs whose "about | situation | test" matches a regular expression."""
    pattern = re.compile(only, re.IGNORECASE)
    jobs = []
    for first in range(0, studies, CHUNK):
        for name, situation in SITUATIONS.items():
            found = [
                t for t in situation.asked if pattern.search(f"{situation.about} | {name} | {t}")
            ]
            if found:
                jobs.append((name, tuple(found), first, min(first + CHUNK, studies)))
    return jobs


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Read the kept answers of the present code; skip incomplete lines."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            continue
        situation = SITUATIONS.get(answer["situation"])
        if situation is None or answer["test"] not in situation.asked:
            continue
        if answer["code"] == code_hash(answer["test"], answer["situation"]):
            kept.append(answer)
    return kept


def remaining(jobs: Iterable[Job], kept: list[dict[str, Any]]) -> list[Job]:
    """Return the unfinished jobs, each with only its unanswered questions."""
    done = {(a["situation"], a["test"], a["study"]) for a in kept}
    out = []
    for name, tests, first, last in jobs:
        left = tuple(t for t in tests if any((name, t, n) not in done for n in range(first, last)))
        if left:
            out.append((name, left, first, last))
    return out


def summarize(kept: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per situation, test and quantity."""
    by: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for a in kept:
        by.setdefault((a["situation"], a["test"]), {})[a["study"]] = a["answer"]
    rows = []
    for name, situation in SITUATIONS.items():
        for test, targets in situation.asked.items():
            answered = pd.DataFrame(list(by.get((name, test), {}).values()))
            answered = answered.drop(columns="error", errors="ignore").astype(float)
            if "crashed" in answered:
                answered["crashed"] = answered["crashed"].fillna(0.0)
            rates = answered.mean()
            for quantity in answered:
                values = answered[quantity].dropna()
                error = values.std(ddof=0) / np.sqrt(len(values)) if len(values) else np.nan
                target = ("<=", 0.0) if quantity == "crashed" else targets.get(quantity)
                rows.append(
                    {
                        "about": situation.about,
                        "situation": name,
                        "test": test,
                        "quantity": quantity,
                        "rate": values.mean(),
                        "mc_error": error,
                        "n_studies": len(values),
                        **compared(rates, values.mean(), error, target),
                    }
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def others_kept(table: pd.DataFrame, out: Path) -> pd.DataFrame:
    """Add the rows of a file about other situations and tests, in the order of the situations."""
    before = pd.read_csv(out) if out.exists() else table[:0]
    asked = ["situation", "test"]
    theirs = ~pd.MultiIndex.from_frame(before[asked]).isin(pd.MultiIndex.from_frame(table[asked]))
    both = pd.concat([part for part in (before[theirs], table) if len(part)])
    order = {name: number for number, name in enumerate(SITUATIONS)}
    asked_still = {(name, test) for name, found in SITUATIONS.items() for test in found.asked}
    known = both[pd.MultiIndex.from_frame(both[asked]).isin(asked_still)]
    return known.sort_values("situation", key=lambda names: names.map(order), kind="stable")


def compared(rates: pd.Series, rate: float, error: float, target: Target | None) -> dict[str, Any]:
    """Compare a rate with its target: "yes", "no", or "within error" (two Monte Carlo errors)."""
    if target is None or not np.isfinite(rate):
        return {"bound": "", "target": np.nan, "met": ""}
    bound, value = target
    value = 0.75 * float(rates[value]) if isinstance(value, str) else value
    beyond = rate - value if bound == "<=" else value - rate
    met = "yes" if beyond <= 1e-12 else "within error" if beyond <= 2 * error else "no"
    return {"bound": bound, "target": value, "met": met}


def report(table: pd.DataFrame, everything: bool) -> None:
    """Print the rows with a target, and the number of targets met."""
    shown = table if everything else table[table["met"] != ""]
    columns = [
        "situation",
        "test",
        "quantity",
        "rate",
        "mc_error",
        "n_studies",
        "bound",
        "target",
        "met",
    ]
    with pd.option_context("display.width", 250, "display.max_colwidth", 80):
        print(shown[columns].round(3).to_string(index=False, na_rep=""))
    judged_rows = table[table["met"] != ""]
    print(judged_rows.groupby("about", sort=False)["met"].value_counts().unstack(fill_value=0))


def main() -> None:
    """Run the requested jobs that have no answers yet; print the results and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=400, help="studies for each situation")
    parser.add_argument(
        "--only",
        default="",
        help='what to run: a pattern in "about | situation '
        '| test"; the table is printed and not written',
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=np.inf,
        help="stop after this long, with about as many studies of each situation",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"default: {OUT.name}, of a run of everything; rows of other situations stay in it",
    )
    parser.add_argument("--partial", type=Path, default=HERE / "results" / "partial")
    parser.add_argument("--all", action="store_true", help="print quantities without a target too")
    add_options(parser)
    args = parser.parse_args()
    args.partial.mkdir(parents=True, exist_ok=True)
    path = args.partial / "calibration.jsonl"
    jobs = wanted(args.only, args.studies)
    if not jobs:
        parser.error(f"nothing matches {args.only!r}")
    todo = remaining(jobs, read_answers(path))
    print(f"{len(todo)} of {len(jobs)} jobs to do; answers in {path}", flush=True)
    start = said = time.monotonic()
    with workers(args), path.open("a", encoding="utf-8") as file:
        found = Parallel(return_as="generator_unordered")(delayed(answers)(job) for job in todo)
        for count, part in enumerate(found, 1):
            file.write("".join(json.dumps(a) + "\n" for a in part))
            file.flush()
            now = time.monotonic()
            if now - said > 30:
                said = now
                print(f"{count} of {len(todo)} jobs in {now - start:.0f} s", flush=True)
            if now - start > 60 * args.minutes:
                print(
                    f"stopped after {count} of {len(todo)} jobs; run the command again to continue"
                )
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that the rest is canceled
                    found.close()
                break
    mine = {(job[0], test) for job in jobs for test in job[1]}
    kept = [
        a
        for a in read_answers(path)
        if (a["situation"], a["test"]) in mine and a["study"] < args.studies
    ]
    table = summarize(kept)
    seconds = sum(a["seconds"] for a in kept) / max(len(kept), 1)
    print(f"{len(kept)} answers, {seconds:.3f} s of a core each")
    report(table, args.all)
    out = args.out or (None if args.only else OUT)
    if out is not None:
        others_kept(table, out).to_csv(out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
