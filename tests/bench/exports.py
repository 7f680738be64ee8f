"""`python -m tests.bench.exports [ROWS]`: how long `koe export answers` takes, and how much memory at most.

The answers are recorded through the store's own verb: sessions of five, of which one is free text, over a year. Each
format is written by the command in a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.records import Answer
from storage.store import Tx, open_store
from tests.bench import shop

_YEAR_MS = 365 * 86_400_000
_WORDS = "梱包が丁寧で、翌日には届きました。電話は090-1234-5678です。次もお願いします。"
_QUESTIONS = ("sat5", "nps", "affinity", "emotion", "reason")


async def _fill(url: str, rows: int, now_ms: int) -> None:
    def unit(tx: Tx, first: int, last: int) -> None:
        for number in range(first, last):
            tx.record_answer(_answer(number, rows, now_ms))

    async with await open_store(url, now_ms=now_ms, server=True) as store:
        for first in range(0, rows, 1_000):
            await store.write(lambda tx, first=first: unit(tx, first, min(rows, first + 1_000)))
        await store.compact()


def _answer(number: int, rows: int, now_ms: int) -> Answer:
    rng = random.Random(number)
    session, place = divmod(number, len(_QUESTIONS))
    at_ms = now_ms - _YEAR_MS + number * _YEAR_MS // rows
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    instrument = _QUESTIONS[place]
    text = instrument == "reason"
    value = _WORDS if text else "relief;trust" if instrument == "emotion" else str(rng.randrange(1, 6))
    return Answer(
        id=f"{at_ms:012x}-{number:023d}", session_id=f"{session:036d}", customer_id=f"C{session % 200_000:07d}",
        question=instrument, instrument=instrument, wording_id=f"{instrument}.bench", label_set="plain", value=value,
        missing="", numeric=not text, lang="ja", channel="line", survey_kind="transactional", touchpoint="purchase",
        segment=rng.choice(("渋谷", "京都", "online")), flow_id="bench", revision="0123456789ab",
        shown_ms=at_ms - 5_000, answered_ms=at_ms, week=(day - timedelta(days=day.weekday())).isoformat(),
    )  # fmt: skip


def _export(folder: Path, form: str, env: dict[str, str]) -> tuple[float, int]:
    """Seconds, and MB at most."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "from bot.cli import main; main()", "export", "answers", "--format", form]
    with subprocess.Popen(
        [*command, "-o", str(folder / f"answers.{form}")], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(said.decode()[-2000:])
    return time.perf_counter() - start, _mb(usage)


def _mb(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss // 1024


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="koe-bench-") as name:
        folder = Path(name)
        env = {key: value for key, value in os.environ.items() if not key.startswith(("KOE_", "LINE_", "SLACK_"))}
        env |= shop.write_settings(folder, api_port=1) | {"PYTHONPATH": str(Path(__file__).parents[2])}
        start = time.perf_counter()
        asyncio.run(_fill(env["KOE_DATABASE_URL"], rows, time.time_ns() // 1_000_000))
        print(f"{rows:,} answers stored in {time.perf_counter() - start:.0f} s", flush=True)
        for form in ("csv", "parquet", "xlsx"):
            took_s, most_mb = _export(folder, form, env)
            size_mb = (folder / f"answers.{form}").stat().st_size / 1e6
            print(f"{form}: {took_s:.1f} s, {most_mb} MB at most, a file of {size_mb:.0f} MB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
