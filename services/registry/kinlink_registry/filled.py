"""Under which schema a vault was filled: its records were normalised by it and by no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kinlink_core.encoding import conformance
from kinlink_core.encoding.keys import SECRET_BYTES, EpochSecret
from kinlink_core.errors import PreconditionError, Reason

from kinlink_registry.vault import read_meta, write_meta

if TYPE_CHECKING:
    from kinlink_core.encoding.schema import Schema

    from kinlink_registry.session import Session
    from kinlink_registry.vault import Vault

FINGERPRINT = "schema_fingerprint"
PARTS = "schema_parts"


def check_schema(vault: Vault, schema: Schema) -> None:
    """Refuse to mix records that were normalised under different schemas in one vault.

    Raises:
        PreconditionError: `SCHEMA_DIFFERS`, naming the parts that differ: of the schema file, or of
            the tables that an update of packages changed.
    """
    fingerprint = schema.fingerprint()
    with vault.reading() as session:
        found = read_meta(session, FINGERPRINT)
        if found == fingerprint and read_meta(session, PARTS):
            return
        if found not in {None, fingerprint} and session.value("SELECT count(*) FROM record"):
            named = moved_parts(session, schema)
            moved = f" It differs in: {conformance.told(named)}." if named else ""
            raise PreconditionError(
                Reason.SCHEMA_DIFFERS,
                f"The vault was filled under another schema, or by other tables.{moved} Put them"
                " back, or move the vault aside and ingest again.",
            )
    with vault.writing() as session:
        write_meta(session, FINGERPRINT, fingerprint)
        write_meta(session, PARTS, json.dumps(_parts(schema)))


def moved_parts(session: Session, schema: Schema) -> list[str]:
    """Names of the parts in which a schema encodes otherwise than when the vault was filled."""
    stored = json.loads(read_meta(session, PARTS) or "{}")
    return conformance.differing(stored, _parts(schema)) if stored else []


def _parts(schema: Schema) -> dict[str, str]:
    """The parts of the encoding without a secret: they tell what is public anyway."""
    epoch = conformance.Epoch("vault", EpochSecret("vault", bytes(SECRET_BYTES)))
    return {name: digest.hex() for name, digest in conformance.parts(schema, epoch).items()}
