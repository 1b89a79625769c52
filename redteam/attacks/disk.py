"""T7: a stolen linker disk.

The attacker has every file of the linker's home, copied while it serves: databases with their logs
and free blocks, spill directories, audit, settings. Before, registries were linked in one epoch,
the epoch was retired, and people were deleted in the next. Looked for, in all bytes, are values of
the registries, sealed sketches, record tags and sieve words exactly as the registries sent them,
tokens and handles of the retired epoch; and, reported, what is left of people who were deleted in
an epoch that lives: databases keep deleted rows in their files until they are written over.

First design: the linker kept encodings. The search is shown to find what is there: live tokens.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from kinlink_core.wire import Refusal
from kinlink_local.search import Seeker, searchable

from redteam.asker import EPOCH, meet
from redteam.live import live, wait_for
from redteam.population import make
from redteam.registries import rows_of
from redteam.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from redteam.live import Live
    from redteam.setting import Setting

PEOPLE: Final = 220
GONE: Final = 12
NEXT_EPOCH: Final = "2999-01"
WORD_BYTES: Final = 8
SUBJECT_GONE: Final = 3


def run(setting: Setting) -> list[Result]:
    """Link, rotate, delete, steal, search."""
    population = make(PEOPLE, 2, setting.seed, correlated=False, overlap=0.6)
    with live(population) as made:
        made.link()
        sought = {"sealed": _sealed(made, EPOCH)}
        sought["retired tokens and handles"] = _words(_feed(made, EPOCH))
        _rotate(made)
        made.link()
        live_tokens = _feed(made, NEXT_EPOCH)
        name = population.names[0]
        position = _last(made, name)
        made.lab.ingest(name, rows_of(population, 0)[:GONE], "--delete", file="gone.csv")
        left = _feed(made, NEXT_EPOCH)
        wait_for("the linker to forget", lambda: _position(made, name) == _last(made, name))
        sought["tokens of the deleted"] = _words(live_tokens) - _words(left)
        sought["subjects of the deleted"] = _subjects(made, name, position)
        sought["values"] = searchable(
            value for column in population.values.values() for value in column if value
        )
        stolen = made.lab.folder / "stolen"
        shutil.copytree(made.linker_home, stolen, ignore=shutil.ignore_patterns("tls", "*.sock"))
        found = {what: _share(stolen, words) for what, words in sought.items()}
        seen = _share(stolen, _words(left))
    place = f"{population.records} records, 2 registries, linker in its own process"
    return [
        Result("T7", f"stolen linker disk: {what}", place, setting.seed, "share found", share,
               None if "deleted" in what else 0.0, seen, 0.9,
               detail="All bytes of all files. Beside it tokens of live epochs.")
        for what, share in found.items()
    ]  # fmt: skip


def _feed(made: Live, epoch: str) -> set[bytes]:
    """Tokens and handles that all registries show in an epoch."""
    found: set[bytes] = set()
    for name in made.lab.homes:
        asker = made.asker(name, epoch)
        feed = asker.feed()
        asker.channel.close()
        added = feed.column("event") == 1
        for column in ("token", "handle"):
            found |= {row.tobytes() for row in feed.column(column)[added]}
    return found


def _subjects(made: Live, name: str, after: int) -> set[bytes]:
    """Subject ids that a registry's feed told as gone after a position."""
    asker = made.asker(name, NEXT_EPOCH)
    feed = asker.feed(asker.feed().header.feed_id, after)
    asker.channel.close()
    return {row.tobytes() for row in feed.column("handle")[feed.column("event") == SUBJECT_GONE]}


def _sealed(made: Live, epoch: str) -> set[bytes]:
    """Sealed sketches, record tags and sieve words of all pairs: the same for every asking."""
    left, right = (made.asker(name, epoch) for name in made.lab.homes)
    found: set[bytes] = set()
    for index in range(len(left.schema.passes)):
        met = meet(left, right, index)
        if not met.pairs:
            continue
        for asker, asked in ((left, met.to_left), (right, met.to_right)):
            rows = asker.seal(asked)
            good = rows.refusal == Refusal.ANSWERED
            found |= {row.tobytes() for row in asker.tagged(asked).record_tag[good]}
            for column in rows.batch.fields:
                if column.sketch is not None:
                    found |= {row.tobytes() for row in column.sketch[good]}
            words = np.ascontiguousarray(asker.sieve(asked).word).view(np.uint8)
            found |= {word.tobytes() for word in words.reshape(-1, WORD_BYTES)}
    for asker in (left, right):
        asker.channel.close()
    return found


def _words(ids: Iterable[bytes]) -> set[bytes]:
    """Halves of ids, as databases keep them."""
    return {each[at : at + WORD_BYTES] for each in ids for at in (0, WORD_BYTES)}


def _rotate(made: Live) -> None:
    """Make the next epoch, destroy the first one, wait until the linker has noticed."""
    made.lab.share(NEXT_EPOCH)

    def served(name: str) -> bool:
        epochs: list[dict[str, Any]] = json.loads(made.lab.command(name, "status", "--json"))[
            "epochs"
        ]
        return any(each["epoch"] == NEXT_EPOCH and each["served"] for each in epochs)

    for name in made.lab.homes:
        wait_for(f"{name} to serve {NEXT_EPOCH}", lambda name=name: served(name))
    for name in made.lab.homes:
        made.lab.command(name, "keys", "retire", EPOCH, "--yes")
    old = made.linker_home / f"tokens-{EPOCH}.duckdb"
    wait_for("the linker to forget the old epoch", lambda: not old.exists())


def _last(made: Live, name: str) -> int:
    asker = made.asker(name, NEXT_EPOCH)
    last: int = asker.profile().last_sequence
    asker.channel.close()
    return last


def _position(made: Live, name: str) -> int:
    """Up to where the linker read a registry's feed, by its own status page."""
    from urllib.request import urlopen

    addresses = made.services["linker"].addresses
    if addresses is None:
        return -1
    with urlopen(f"http://{addresses.metrics}/metrics") as page:
        text = page.read().decode()
    lag = f'kinlink_linker_sync_lag_events{{registry="{name}"}} '
    lines = [line for line in text.splitlines() if line.startswith(lag)]
    return _last(made, name) if lines and float(lines[0].split()[-1]) == 0 else -1


def _share(folder: Path, sought: set[bytes]) -> float:
    """Share of what is sought that stands anywhere in any file."""
    holding = Seeker(sought).files_that_hold(folder)
    return len(set().union(*holding.values())) / max(len(sought), 1) if holding else 0.0
