"""A field that crosses right ascension 0 is one map; a line, bounds and ranges hold on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from galflow.explore.explored import ExploredRun
from galflow.explore.maps import MapQuery
from galflow.explore.query import Lasso, Query, Selection
from galflow.explore.sky import STEP, field_begins
from galflow.storage.store import Store
from tests.galflow.explore.conftest import COUNT, EACH, publish_small_run


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExploredRun]:
    """Tile t0 lies at 359.5 degrees, t1 at 0.5."""
    store = Store.open(tmp_path_factory.mktemp("crossing"))
    explored = ExploredRun.open(store, publish_small_run(store, ra=359.5))
    yield explored
    explored.close()


def test_it_is_one_map(crossing: ExploredRun) -> None:
    found = crossing.maps.draw(MapQuery("ra", "dec", cells=(10, 4)))
    x0, x1, *_ = found.bounds
    assert -0.51 < x0 < -0.49
    assert 0.49 < x1 < 0.51
    assert found.count == COUNT == found.counts.sum()
    ra = np.sort(crossing.rows.fetch(range(COUNT), ["ra"]).column("ra").to_numpy())
    assert ra[0] < 1
    assert ra[-1] > 359
    np.testing.assert_allclose(np.sort(found.points["x"]), np.sort(np.where(ra > 180, ra - 360, ra)), atol=1e-9)
    for bounds, count in (((-0.6, 0.0, 0, 3), EACH), ((359.4, 360.6, 0, 3), COUNT), ((719.4, 720.0, 0, 3), EACH)):
        assert crossing.maps.draw(MapQuery("ra", "dec", bounds=bounds)).count == count


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_a_line_over_0_holds_what_is_within(crossing: ExploredRun, turn: int) -> None:
    def selected(west: float, east: float) -> int:
        lasso = Lasso("ra", "dec", tuple((x + turn, y) for x, y in ((west, 1), (east, 1), (east, 3), (west, 3))))
        return len(crossing.rows.ordered(Query(Selection(lasso=lasso))))

    assert selected(-1, 1) == COUNT
    assert selected(-1, 0) == EACH
    assert selected(1, 358) == 0


def test_where_a_field_begins() -> None:
    def steps(*parts: tuple[float, float]) -> np.ndarray:
        return np.concatenate([np.arange(round(low / STEP), round(high / STEP)) for low, high in parts])

    assert field_begins(steps((350, 360), (0, 10))) == pytest.approx(350)
    assert field_begins(steps((0, 95), (300, 360))) == pytest.approx(300)
    assert field_begins(steps((10, 20), (150, 160))) == 0  # the widest gap holds 0
    assert field_begins(steps((0, 360))) == 0
    assert field_begins(steps((0, 100), (105, 360))) == 0  # all around, but for a stripe
    assert field_begins(np.array([], dtype=np.int64)) == 0
