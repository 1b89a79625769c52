"""A file of notices in any of the forms that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kinlink_local.reunion.intake.loose_tables import import_csv, import_jsonl
from kinlink_local.reunion.intake.outcome import Outcome
from kinlink_local.reunion.intake.pfif_read import import_pfif
from kinlink_local.reunion.intake.template_cells import import_template

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORMS = {"template": import_template, "csv": import_csv, "json": import_jsonl}


def read_notices(
    path: Path,
    form: str,
    *,
    encoding: str = "utf-8",
    domain: str = "",
    progress: Callable[[int], None] = lambda _read: None,
) -> Outcome:
    """Read a file.

    Args:
        path: the file.
        form: `template`, `pfif`, `csv` or `json`.
        encoding: of text; bytes that are none of it are replaced, and their notice is reported.
        domain: left off PFIF ids that begin with it.
        progress: called with the notices kept so far, now and then.

    Raises:
        OSError: It cannot be opened.
        LookupError: There is no such encoding.
    """
    outcome = Outcome(progress=progress)
    if form == "pfif":
        with path.open("rb") as binary:
            import_pfif(binary, outcome, domain)
        return outcome
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
    with path.open(encoding=name, errors="replace", newline="") as file:
        FORMS[form](file, outcome)
    return outcome
