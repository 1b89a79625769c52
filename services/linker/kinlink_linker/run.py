"""What the stages of one linkage share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from kinlink_linker.federation import Federation
    from kinlink_linker.progress import Progress, Tally


@dataclass
class Run:
    """One linkage under way; the epoch is known once the registries agreed on it."""

    linkage_id: str
    schema: Schema
    federation: Federation
    progress: Progress
    tally: Tally
    epoch: str = ""
