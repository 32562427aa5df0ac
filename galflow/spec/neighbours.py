"""What models are to see of a cutout's other objects: a choice in the specification. It finds none of them."""

from __future__ import annotations

from typing import Literal

Neighbours = Literal["keep", "mask", "sky"]
"""All light as it is; neighbours' pixels missing; or replaced by pixels of the cutout's sky."""
