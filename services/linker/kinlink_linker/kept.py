"""What a linkage hands over to standing search: what it was, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinlink_linker.board import Board
    from kinlink_linker.domain import LinkageOrder
    from kinlink_linker.model import Model


@dataclass(frozen=True)
class Kept:
    """A linkage whose links are kept up to date."""

    linkage_id: str
    epoch: str
    order: LinkageOrder
    model: Model
    board: Board
    whole: bool  # no registry was missing
