"""The rows of mocks: who each view is, where it was put, how it was observed, and whether it counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from galflow.errors import DataError
from galflow.photometry import AB_ZERO_NJY
from galflow.surveys.drawing.redshifting import kpc_per_arcsec
from galflow.surveys.mock_tile import MockTile
from galflow.surveys.reading.galaxy_table import GalaxyTable
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.stamp_names import hash64
from galflow.surveys.reading.table_metadata import assembled, notes, with_reasons
from galflow.surveys.simulation_options import SimulationOptions

_REASONS_TOLD = 5
_Column = tuple[pa.Field, pa.Array | pa.ChunkedArray]


def mock_catalog(
    made: MockTile, bands: Sequence[str], options: SimulationOptions, properties: GalaxyTable | None
) -> pa.Table:
    """One row a mock, in the order of the tile; DataError where two would have one id.

    What could not be read, and how many the survey would not have found, is told by the table's reasons.
    """
    views = made.views
    ids = np.array([hash64(placed.key) >> 1 for placed in views], np.int64)
    if len(set(ids.tolist())) < len(ids):
        raise DataError("two views have one object id; give each galaxy and camera a name of its own")
    y, x = Mosaic(len(views), options.stamp_size).centres
    nowhere = pa.nulls(len(views), pa.float64())
    columns: list[_Column] = [
        _column("object_id", pa.array(ids)),
        _column("ra_deg", nowhere),
        _column("dec_deg", nowhere),
        _column("x", pa.array(x.astype(np.float64))),
        _column("y", pa.array(y.astype(np.float64))),
        _column("source_name", pa.array([p.key for p in views], pa.string()), None, "Snapshot, galaxy and camera"),
        *_identity(made),
        *_observed(made, bands, options),
    ]
    if made.found is not None:
        counts = made.found.counts & np.array([p.view.error is None for p in views], bool)
        columns.append(_column("is_primary", pa.array(counts), None, "Whether the survey would have found it"))
    unreadable = pa.array([p.view.error for p in views], pa.string())
    columns.append(_column("read_error", unreadable, None, "Why the view cannot be used"))
    if properties is not None:
        known = properties.rows_of([placed.galaxy for placed in views])
        own = {field.name for field in known.schema}
        columns = [pair for pair in columns if pair[0].name != "group" or "group" not in own]
        columns += list(zip(known.schema, known.columns, strict=True))
    return with_reasons(assembled(columns), _reasons(made))


def _identity(made: MockTile) -> list[_Column]:
    """Which galaxy, of which snapshot, from where."""
    views = made.views
    parts = [placed.galaxy.rpartition("/") for placed in views]
    snapshots = pa.array([int(snapshot) if snapshot else None for snapshot, _, _ in parts], pa.int64())
    subhalos = pa.array([int(n) if n.isdecimal() and len(n) < 19 else None for _, _, n in parts], pa.int64())
    said = sorted({name for placed in views for name in placed.view.columns})
    return [
        _column(
            "galaxy", pa.array([name for _, _, name in parts], pa.string()), None, "The galaxy's name or subhalo id"
        ),
        _column("snapshot", snapshots, None, "Snapshot of the simulation"),
        _column("subhalo_id", subhalos, None, "Subhalo id, where the galaxy's name is a number"),
        _column("camera", pa.array([p.view.camera or None for p in views], pa.string()), None, "Direction of the view"),
        _column("group", pa.array([p.group for p in views], pa.string()), None, "Views that no split parts"),
        *(
            _column(name, pa.array([p.view.columns.get(name) for p in views], pa.float64()), None, "As the file has it")
            for name in said
        ),
    ]


def _observed(made: MockTile, bands: Sequence[str], options: SimulationOptions) -> list[_Column]:
    """Where each view was put and what is known of its light."""
    views = made.views
    redshift = [placed.redshift if placed.view.error is None else None for placed in views]
    scales = [None if z is None else kpc_per_arcsec(z, options.cosmology) for z in redshift]
    found = [
        _column("redshift", pa.array(redshift, pa.float64()), None, "Redshift at which the galaxy is observed"),
        _column(
            "kpc_per_arcsec", pa.array(scales, pa.float64()), "kpc / arcsec", "Proper length of an arcsecond there"
        ),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitudes = -2.5 * np.log10(made.flux_njy / AB_ZERO_NJY)
    for number, band in enumerate(bands):
        flux = pa.array(made.flux_njy[:, number], from_pandas=True)
        magnitude = np.where(np.isfinite(magnitudes[:, number]), magnitudes[:, number], np.nan)
        found.append(_column(f"true_flux_{band}", flux, "nJy", "All light of the view at its redshift"))
        bright = pa.array(magnitude, from_pandas=True)
        found.append(_column(f"true_magnitude_{band}", bright, "mag", "AB magnitude of all light of the view"))
    share = pa.array(made.share, from_pandas=True)
    found.append(_column("stamp_share", share, None, "Share of the first band's light that lies in the stamp"))
    if made.places is not None:
        for name, values in zip(("sky_y", "sky_x"), made.places.T, strict=True):
            place = pa.array(values, mask=values < 0)
            found.append(_column(name, place, "pix", "Pixel of the imitated tile on which the mock is laid"))
    if made.found is not None:
        told = made.found
        for name, numbers, unit in (
            ("detected_snr", told.snr, None),
            ("detected_magnitude", told.magnitude, "mag"),
            ("detected_half_light_radius", told.half_light_radius_arcsec, "arcsec"),
        ):
            found.append(
                _column(name, pa.array(numbers, from_pandas=True), unit, "As the survey would have measured it")
            )
        reasons = [r if p.view.error is None else "unreadable" for r, p in zip(told.reasons, views, strict=True)]
        found.append(
            _column("selection", pa.array(reasons, pa.string()), None, "selected, or why the mock does not count")
        )
    return found


def _reasons(made: MockTile) -> list[str]:
    """What could not be read, some of it in words."""
    errors = [placed.view.error for placed in made.views if placed.view.error is not None]
    more = (
        [f"{len(errors) - _REASONS_TOLD} more views cannot be used (read_error)"] if len(errors) > _REASONS_TOLD else []
    )
    return errors[:_REASONS_TOLD] + more


def _column(name: str, values: pa.Array, unit: str | None = None, description: str | None = None) -> _Column:
    return pa.field(name, values.type, metadata=notes(unit, description)), values
