"""What surveys of ready-made images share, be they files of one image each or cubes of many."""

from __future__ import annotations

from galflow.photometry import NJY
from galflow.surveys.base import Survey
from galflow.surveys.reading.files import expand_root
from galflow.surveys.reading.stamps_options import StampPixelOptions


class ReadyMadeImages(Survey):
    """Images below one root, in the unit that the options declare."""

    options: StampPixelOptions

    def __init__(self, name: str, release: str, options: StampPixelOptions) -> None:
        super().__init__(name, release, options)
        self._root = expand_root(options.root)

    @property
    def ready_made(self) -> bool:
        """It is nothing else."""
        return True

    @property
    def root_uri(self) -> str:
        """The option root."""
        return self._root

    @property
    def unit(self) -> str:
        """nJy with a zero point, else as declared."""
        return NJY if self.options.zero_point_ab is not None else self.options.unit
