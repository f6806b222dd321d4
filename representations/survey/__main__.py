"""Survey the architectures: `python -m representations.models --survey`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from representations.corpus.corpus import load_corpus
from representations.survey.page import page, row
from representations.survey.run import Found, kinds, survey
from study import HOME
from study.read import InputError


def main(arguments: list[str] | None = None) -> int:
    """Build and examine all kinds of models, or some; print the results or write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m representations.models",
        description="Which kinds of models can be read, written and steered.",
    )
    parser.add_argument(
        "--survey", nargs="*", metavar="KIND", required=True, help="kinds to show; all by default"
    )
    parser.add_argument("--out", type=Path, help="write the page to this file")
    parser.add_argument("--workers", type=int, default=2, help="parallel processes (default: 2)")
    options = parser.parse_args(arguments)
    corpus = load_corpus(HOME / "data" / "corpus")
    causal, with_images = kinds()
    try:
        if unknown := sorted(set(options.survey) - {*causal, *with_images}):
            raise InputError(f"unknown kind {unknown[0]!r}; docs/models.md has their names")
        chosen = options.survey or [*causal, *with_images]
        found: list[Found] = []
        for one in survey(chosen, corpus, options.workers):
            found.append(one)
            print(row(one), end="", flush=True)
        if options.out:
            of = {one.kind: one for one in found}
            options.out.write_text(
                page([of[k] for k in causal if k in of], [of[k] for k in with_images if k in of]),
                encoding="utf-8",
            )
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
