"""Processes of `koe` without the second or two that each needs to import its libraries: a nursery has imported them and
forks whenever a test asks for one. What runs in the fork is the real command line (`bot.cli.main`, or
`reports.__main__.main`), with its own folder, environment, streams, signals and exit code.

What a process has *loaded* cannot be asked here: such tests start Python themselves.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]

Program = Literal["koe", "reports"]
"""`koe …`, or `python -m reports …`."""

SERVER = (
    "bot.app",
    "bot.check",
    "bot.cli",
    "bot.http",
    "bot.line",
    "bot.slack.app",
    "holidays.countries",
    "linebot.v3.messaging",
    "slack_bolt.adapter.socket_mode.async_handler",
    "slack_bolt.adapter.starlette.async_handler",
    "slack_bolt.async_app",
    "slack_sdk.web.async_client",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)
"""What `koe serve` loads."""

COMMANDS = (
    "bot.check",
    "bot.cli",
    "bot.events.answers",
    "bot.events.files",
    "bot.exports",
    "bot.talk.loop",
    "holidays.countries",
    "reports.__main__",
    "reports.answers.render",
    "reports.charts.charts",
    "reports.page.page",
    "rich.console",
    "scipy.stats",
    "statsmodels.stats.multitest",
    "statsmodels.stats.proportion",
    "statsmodels.stats.weightstats",
    "uvloop",
)
"""What the commands load that end by themselves, and what makes a digest."""


class Nursery:
    """Starts processes; may be asked from several threads."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", *modules],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._read()
        except AssertionError:
            self.close()
            raise

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery ended; its reason is on stderr"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with self._asking:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return self._read()

    def start(
        self,
        argv: list[str],
        environ: Mapping[str, str],
        log: Path,
        *,
        program: Program = "koe",
        cwd: Path | None = None,
        stdin: Path | None = None,
        stderr: Path | None = None,
        strict: bool = False,
        without: tuple[str, ...] = (),
    ) -> Life:
        """`koe ARGV` with exactly this environment.

        Args:
            log: where what it prints goes; errors, too, unless `stderr` is given.
            cwd: the folder of `log` when left out.
            stdin: a file; empty when left out.
            strict: warnings are errors.
            without: modules that cannot be imported.
        """
        order = {
            "program": program,
            "argv": argv,
            "environ": dict(environ),
            "stdin": str(stdin or os.devnull),
            "stdout": str(log),
            "stderr": str(stderr or log),
            "cwd": str(cwd or log.parent),
            "strict": strict,
            "without": without,
        }
        return Life(self._ask(order)["pid"], self)

    def reap(self, pid: int) -> int:
        """The exit code of a process that has ended, minus the signal's number when one ended it."""
        status: int = self._ask({"reap": pid})["status"]
        return status

    def close(self) -> None:
        """End whatever is still running."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Life:
    """One run of a process."""

    def __init__(self, pid: int, nursery: Nursery) -> None:
        self.pid = pid
        self.status: int | None = None
        self._nursery = nursery
        self._fd = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """To a life that is over nothing happens."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    async def ended(self) -> int:
        """Its exit code (minus a signal's number), once it has ended."""
        if self.status is None:
            loop = asyncio.get_running_loop()
            over = asyncio.Event()
            watched = os.dup(self._fd)
            loop.add_reader(watched, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(watched)
                os.close(watched)
        return self._reaped()

    def wait(self, timeout_s: float) -> int:
        """As `ended`, for whoever cannot await; one that takes longer is killed, and fails the test."""
        if self.status is None and not select.select([self._fd], [], [], timeout_s)[0]:
            self.signal(signal.SIGKILL)
            select.select([self._fd], [], [])
            self._reaped()
            raise AssertionError(f"it ran for more than {timeout_s:.0f} s")
        return self._reaped()

    def _reaped(self) -> int:
        if self.status is None:
            self.status = self._nursery.reap(self.pid)
            os.close(self._fd)
        return self.status


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    returncode: int
    """Minus the signal's number when a signal ended it."""
    out: bytes
    err: bytes

    @property
    def stdout(self) -> str:
        return self.out.decode("utf-8")

    @property
    def stderr(self) -> str:
        return self.err.decode("utf-8")


@cache
def _commands() -> Nursery:
    """One for the whole run; it ends with it."""
    nursery = Nursery(COMMANDS)
    atexit.register(nursery.close)
    return nursery


def run(
    *argv: str,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    stdin: bytes | str = b"",
    program: Program = "koe",
    strict: bool = False,
    without: tuple[str, ...] = (),
) -> Done:
    """`koe ARGV` in `cwd`, to its end, within a minute.

    Args:
        environ: all of its environment, but for where the project is.
        stdin: what stands on its standard input.
        program: "reports" for `python -m reports ARGV`.
        strict: warnings are errors.
        without: modules that cannot be imported.
    """
    environ = {"PYTHONPATH": str(ROOT), **(environ or {})}
    with tempfile.TemporaryDirectory() as folder:
        given, out, err = (Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        given.write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        life = _commands().start(
            list(argv), environ, out,
            program=program, cwd=cwd, stdin=given, stderr=err, strict=strict, without=without,
        )  # fmt: skip
        status = life.wait(60)
        return Done(status, out.read_bytes(), err.read_bytes())


async def reports(command: str, request: bytes) -> bytes:
    """`bot.digests.in_a_process`, forked: for worlds in which digests are posted."""
    from bot.digests import DigestFailed

    nursery = await asyncio.to_thread(_commands)
    with tempfile.TemporaryDirectory() as folder:
        given, out, err = (Path(folder, name) for name in ("stdin", "stdout", "stderr"))
        given.write_bytes(request)
        life = nursery.start([command], {"PYTHONPATH": str(ROOT)}, out, program="reports", stdin=given, stderr=err)
        try:
            status = await life.ended()
        finally:
            life.signal(signal.SIGKILL)
            life.wait(60)
        if status != 0:
            raise DigestFailed(f"{command}: {err.read_text('utf-8')}")
        return out.read_bytes()


# ------------------------------------------------------------------------------------------- inside of the nursery


def _be(order: dict[str, Any]) -> None:
    """Never returns."""
    code = 1
    try:
        os.dup2(os.open(order["stdin"], os.O_RDONLY), 0)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
        # the one there is has read ahead, in what was said to the nursery
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environ"])
        if order["strict"]:
            warnings.simplefilter("error")
        for name in order["without"]:
            # how Python itself marks a module that cannot be imported
            sys.modules[name] = None  # type: ignore[assignment]
        sys.argv = [order["program"], *order["argv"]]
        if order["program"] == "koe":
            from bot.cli import main

            main()
            code = 0
        else:
            from reports.__main__ import main as make

            code = make()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read_for_reports() -> None:
    """What every digest reads of what comes with Koe."""
    from reports import instruments, templating

    instruments.bundled_instruments()
    instruments.bundled_blocks()
    for name in templating.our_names():
        if name.endswith(".j2"):
            kind = templating.html_templates if name.startswith("page/") else templating.text_templates
            kind(None).get_template(name)


def _serve(modules: list[str]) -> None:
    """Until its standard input ends; then its processes end, too.

    JSON lines: what `Nursery.start` orders → {"pid"}; {"reap": pid} → {"status"}.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in modules:
        importlib.import_module(name)
    # Koe's own flows and texts, the same for every process of a shop without rules of its own
    from bot.config import Unhappy
    from bot.loading import rules_of
    from flows.builtin import builtin_library

    builtin_library(rules_of(Unhappy()))
    if "reports.__main__" in modules:
        _read_for_reports()
    gc.freeze()
    alive: set[int] = set()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "reap" in order:
            _, status = os.waitpid(order["reap"], 0)
            alive.discard(order["reap"])
            answer = {"status": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                _be(order)
            alive.add(pid)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve(sys.argv[1:])
