"""Hand the prompts of a study to another engine, and take the stories that it wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.pins import at_commit, pinned
from pipeline.plan import ExtractionUnit
from pipeline.runner import Run
from representations.corpus.corpus import Corpus
from representations.models.tokenizers import load_tokenizer
from representations.stories import EngineStories, read_stories, requests, story_cells
from study import Study
from study.read import InputError, locate
from study.registry import find_model
from study.write import write_text


def write_prompts(run: Run, chosen: Sequence[ExtractionUnit]) -> None:
    """Write the requests for the stories of the chosen units to the file of `--prompts-out`.

    Only tokenizers are loaded. The commits of hub models are recorded with the results, so the
    model that reads the stories later is the one that the prompts were made for.

    Raises
    ------
    InputError
        If no chosen unit writes, or the file cannot be written.
    """
    specs = {
        unit.spec.name: unit.spec
        for unit in chosen
        if (unit.weights, unit.method) == ("trained", "generation")
    }
    if not specs:
        raise InputError(
            f"--prompts-out: no chosen unit of study {run.study.name} writes stories with trained "
            'weights; add "generation" to its methods'
        )
    with run.alone():
        commits = pinned(run.folder, specs.values())
        lines = []
        for spec in specs.values():
            at = at_commit(spec, commits)
            model = load_tokenizer(at)
            of_model = requests(model, run.used, run.study.generation, run.study.seed)
            texts = [json.dumps(request) + "\n" for request in of_model]
            name = " at ".join(filter(None, (at.source, at.revision)))
            run.console.print(f"{spec.name}: {len(texts)} prompts for {name}")
            lines += texts
        write_text(locate(run.args.prompts_out), "".join(lines))


def engine_stories(
    files: Sequence[str] | None, study: Study, corpus: Corpus
) -> dict[str, EngineStories]:
    """Read the files of `--stories`.

    Returns
    -------
    dict of str to EngineStories
        By model; empty without files.

    Raises
    ------
    InputError
        As `representations.stories.read_stories` does.
    """
    if not files:
        return {}
    models = [find_model(name, study.model).name for name in study.models]
    cells = story_cells(corpus, study.generation)
    return read_stories([locate(name) for name in files], models, cells)
