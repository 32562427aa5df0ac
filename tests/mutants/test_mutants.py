"""Every deliberate fault of ``make mutants`` still has its place in the source, and tests that are there."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).resolve().parents[2]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("galflow_mutants", Path(__file__).with_name("mutants.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_fault_has_one_place_in_the_source_and_tests_that_are_there() -> None:
    mutants = loaded().MUTANTS
    assert len(mutants) >= 60
    wrong = []
    for mutant in mutants:
        text = (PROJECT / mutant.file).read_text()
        if (count := text.count(mutant.source)) != 1:
            wrong.append(f"{mutant.file} holds {mutant.source!r} {count} times")
            continue
        ast.parse(text.replace(mutant.source, mutant.fault))
        wrong += [f"{mutant.breaks}: no {t}" for t in mutant.tests if not (PROJECT / t).exists()]
    assert not wrong, "\n".join(wrong)
    assert len({(m.file, m.source, m.fault) for m in mutants}) == len(mutants)
