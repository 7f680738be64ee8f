"""`python -m tests.bench.plain_pandas ANSWERS.csv`: the group counts of a file of answers as an analyst would write
them, each customer's latest valid answer. The measure that `koe metrics` stands beside."""

from __future__ import annotations

import json
import sys

import pandas as pd

GROUP = ["instrument", "survey_kind", "touchpoint"]
STRATUM = [*GROUP, "wording_id", "label_set", "lang"]


def main(path: str) -> None:
    answers = pd.read_csv(path, dtype=str, keep_default_na=False)
    valid = answers[(answers["value"] != "") & (answers["instrument"] != "reason")]
    valid = valid.sort_values("answered_at", kind="stable")
    named = valid["customer"] != ""
    latest = valid[named].drop_duplicates([*GROUP, "customer"], keep="last")
    counts = pd.concat([latest, valid[~named]]).groupby([*STRATUM, "value"], sort=False).size()
    json.dump([[*map(str, key), int(count)] for key, count in counts.items()], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
