"""The bands of one tile, read side by side while the first of them are already being cut.

A band that cannot be read is missing, with the reason; only the store's own faults, and a file that was replaced since
the run was planned, are raised. This file cuts nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from galflow.cutouts.sparse import SparseReading
from galflow.errors import DataError, GalflowError
from galflow.surveys.base import OUTSIDE_TILE, Image, Survey, Tile
from galflow.surveys.reading.parts import WholeNeeded
from galflow.surveys.reading.sky import CompleteImage, Sky, complete_image
from galflow.surveys.reading.spikes import find_spikes
from galflow.surveys.reading.trails import Trail, find_trails

logger = logging.getLogger(__name__)

_BANDS_AT_ONCE = 4
_UNKNOWN_FWHM_PIXELS = 3.0
"""Where the survey gives no PSF: how wide a spike is taken to be."""


@dataclass(frozen=True, eq=False)
class _Found:
    """One band, or the reason why there is none."""

    image: Image | None
    sky: Sky
    """NaN where nothing is known of it."""
    reason: str | None = None
    doubt: str | None = None
    trails: tuple[Trail, ...] = ()
    spikes: tuple[Trail, ...] = ()
    whole: str = ""
    """Why it was read whole though only parts were asked for."""


class TileImages(Mapping[str, Image]):
    """The readable bands of a tile, inverse variance given. Asking for one waits for that one alone.

    To be used as a context: leaving it ends the reading.
    """

    def __init__(
        self,
        survey: Survey,
        tile: Tile,
        bands: Sequence[str],
        sparse: SparseReading | None = None,
        *,
        lines: bool = True,
    ) -> None:
        """``sparse``: what reads of a band only what cutouts need, where that does; None: bands are read whole.

        ``lines``: trails and spikes are looked for in bands that are read whole.
        """
        self._pool = ThreadPoolExecutor(_BANDS_AT_ONCE, thread_name_prefix="galflow-read")
        # In the caller's context: what is read is counted there.
        self._reading = {
            band: self._pool.submit(copy_context().run, _read, survey, tile, band, sparse, lines) for band in bands
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __getitem__(self, band: str) -> Image:
        image = self._reading[band].result().image
        if image is None:
            raise KeyError(band)
        return image

    def __iter__(self) -> Iterator[str]:
        return (band for band, found in self._reading.items() if found.result().image is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def sigma(self, band: str) -> float:
        """The band's sky sigma in the survey's unit, NaN where it is unknown."""
        return self.sky(band).sigma

    def sky(self, band: str) -> Sky:
        """The band's sky in the survey's unit, NaN where it is unknown."""
        return self._reading[band].result().sky

    def trails(self, band: str) -> tuple[Trail, ...]:
        """The trails across a band that no mask plane tells of, in its pixels."""
        return self._reading[band].result().trails

    def spikes(self, band: str) -> tuple[Trail, ...]:
        """The arms of bright stars' diffraction spikes and bleeds, in the band's pixels."""
        return self._reading[band].result().spikes

    @property
    def whole(self) -> str:
        """Which bands were read whole though only parts of them were asked for, and why; "" if none was."""
        why = {band: found.result().whole for band, found in self._reading.items()}
        return "; ".join(f"band {band}: {reason}" for band, reason in why.items() if reason)

    @property
    def reasons(self) -> list[str]:
        """Why bands are missing or hold no data, one line each."""
        return [reason for found in self._reading.values() if (reason := found.result().reason) is not None]

    @property
    def doubts(self) -> list[str]:
        """What a person should know of bands whose pixels are all there (no noise to be measured), one line each."""
        return [doubt for found in self._reading.values() if (doubt := found.result().doubt) is not None]


def _lines(complete: CompleteImage) -> tuple[tuple[Trail, ...], tuple[Trail, ...]]:
    """Trails and spikes across an image."""
    image, level, sigma = complete.image, complete.level, complete.sigma
    known = None if image.psf is None else image.psf.fwhm_arcsec
    fwhm = known / image.pixel_scale_arcsec if known else _UNKNOWN_FWHM_PIXELS
    return find_trails(image, level, sigma), find_spikes(image, level, sigma, fwhm)


def _complete(survey: Survey, tile: Tile, band: str, sparse: SparseReading | None) -> tuple[CompleteImage, str]:
    """A band, and why it was read whole though ``sparse`` was given."""
    if sparse is None:
        return complete_image(survey.read(tile, band)), ""
    try:
        return sparse.image(band), ""
    except WholeNeeded as needed:
        return complete_image(survey.read(tile, band)), str(needed)


def _read(survey: Survey, tile: Tile, band: str, sparse: SparseReading | None, lines: bool) -> _Found:
    unknown = Sky(math.nan, math.nan)
    if band not in tile.bands:
        return _Found(None, unknown, None if tile.name == OUTSIDE_TILE else f"band {band}: the tile has no such file")
    try:
        complete, whole = _complete(survey, tile, band, sparse)
        # Ready-made images are no field that something could fly across.
        trails, spikes = _lines(complete) if lines and not survey.ready_made else ((), ())
    except DataError as error:
        return _Found(None, unknown, f"band {band}: {error}")
    except GalflowError:
        raise
    except Exception as error:  # of astropy, numpy, Pillow on a file's content; a mistake of galflow's own is logged
        logger.exception("tile %s, band %s cannot be read", tile.name, band)
        text = " ".join(str(error).split()) or "no further words"
        return _Found(None, unknown, f"band {band}: {type(error).__name__} while it was read: {text}")
    reason = None if complete.lost is None else f"band {band}: {complete.lost}"
    doubt = None if complete.doubt is None else f"band {band}: {complete.doubt}"
    return _Found(complete.image, Sky(complete.level, complete.sigma), reason, doubt, trails, spikes, whole)
