"""What a key server tells of itself: plain data, the same for people and for `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kinlink_core.errors import InvalidInputError
from kinlink_core.runtime.tls import TlsFiles, certificate_days_left

from kinlink_keyserver.budgets import reach

if TYPE_CHECKING:
    from kinlink_keyserver.app import Office


def status(office: Office) -> dict[str, Any]:
    """The state of a key server in a few figures."""
    settings = office.settings
    spent = [each for name in office.epochs.live() for each in budgets(office, name)]
    return {
        "key_server": settings.name,
        "federation": settings.federation,
        "schema": {
            "name": office.schema.name,
            "fingerprint": office.schema.fingerprint(),
            "passes": len(office.budgets.passes),
        },
        "serves": office.home.ready.exists(),
        "certificate_days_left": _days_left(TlsFiles.in_dir(settings.tls_dir)),
        "epochs": [each for each in epochs(office) if each["state"] != "retired"],
        "registries": [
            {
                "name": name,
                "records": records,
                "evaluations": sum(each["spent"] for each in spent if each["registry"] == name),
                "budget_used_most": max(
                    (each["spent"] / each["budget"] for each in spent if each["registry"] == name),
                    default=0.0,
                ),
            }
            for name, records in settings.records.items()
        ],
    }


def epochs(office: Office) -> list[dict[str, Any]]:
    """Every epoch there ever was, newest first."""
    missing = set(office.epochs.missing())
    return [
        {
            "epoch": each.name,
            "state": "retired"
            if each.retired_at
            else "seed missing"
            if each.name in missing
            else "served",
            "created_at": each.created_at,
            "retired_at": each.retired_at,
        }
        for each in office.ledger.epochs()
    ]


def budgets(office: Office, epoch: str) -> list[dict[str, Any]]:
    """Budgets of an epoch, by registry and pass in the schema's order."""
    reaches = reach(office.schema, office.budgets)
    rows = []
    for registry in office.budgets.registries:
        spent = office.ledger.spent(registry)
        for pass_id, budget in office.budgets.of(registry).items():
            used = spent.get((epoch, pass_id), 0)
            rows.append(
                {
                    "epoch": epoch,
                    "registry": registry,
                    "pass": pass_id,
                    "budget": budget,
                    "spent": used,
                    "left": max(0, budget - used),
                    "reach": reaches[pass_id],
                }
            )
    return rows


def _days_left(tls: TlsFiles) -> float | None:
    try:
        return certificate_days_left(tls.cert)
    except InvalidInputError:
        return None
