"""A whole run without Prefect's server: `python whole_run.py SPEC.yaml`. Its stages, one after the other."""

from __future__ import annotations

import sys
from pathlib import Path

from galflow.errors import GalflowError
from galflow.logs import LogSettings, log_to_stderr
from galflow.spec.run import RunSpec, load_spec
from tasks.cluster import running_cluster
from tasks.fan_out import StageResult
from tasks.publish import publish
from tasks.stages import ingest, join, score_cutouts, train_models


def whole_run(spec: RunSpec) -> int:
    """Cut, train, score and publish; 1 if anything failed."""
    with running_cluster(spec) as reached:
        say("cut")
        cut = ingest.fn(reached, reached.survey)
        joined = join.fn(reached, reached.survey, cut)
        say("train")
        trained = train_models.fn(reached, joined, {})
        if trained.failures:
            return told(trained)
        say("score")
        scores = score_cutouts.fn(reached, reached.survey, joined, trained)
        if cut.failures or scores.failures:
            return told(cut, scores)
        say("publish")
        publish.fn(reached, cut, joined, trained, scores, {}, {}, {}, StageResult())
    say("done")
    return 0


def told(*results: StageResult) -> int:
    """Say what failed."""
    for result in results:
        for failure in result.failures:
            say(f"failed: {failure.stage} {failure.name}: {failure.reason}")
    return 1


def say(words: str) -> None:
    """A line that a test waits for."""
    sys.stderr.write(f"STAGE {words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    log_to_stderr(LogSettings.from_environment())
    try:
        sys.exit(whole_run(load_spec(Path(sys.argv[1]))))
    except GalflowError as error:
        say(f"error: {error}")
        sys.exit(3)
