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
from tasks.run_record import RunRecord
from tasks.stages import choose_rule, ingest, join, score_cutouts, train_models


def whole_run(spec: RunSpec) -> int:
    """Cut, train, score and publish; 1 if anything failed."""
    with running_cluster(spec) as reached:
        say("cut")
        run = RunRecord(reached)
        run.cutouts[None] = ingest.fn(run)
        run.joined[None] = join.fn(run)
        say("train")
        run.models = train_models.fn(run)
        if run.models.failures:
            return told(run.models)
        say("score")
        run.ranking = choose_rule.fn(run)
        run.scores[None] = score_cutouts.fn(run)
        if run.cutouts[None].failures or run.scores[None].failures:
            return told(run.cutouts[None], run.scores[None])
        say("publish")
        publish.fn(run)
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
