"""A process that has imported everything `koe serve` needs and forks a server whenever a test asks for one: a life
costs a few hundredths of a second instead of a second, so that many crashes fit into a test run. What runs in the
fork is the real command line, `bot.cli.main`.

Talks JSON lines on its standard streams: {"argv", "environ", "log", "cwd"} → {"pid"}; {"reap": pid} → {"status"}.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from typing import Any

_EVERYTHING = (
    "bot.app",
    "bot.check",
    "bot.cli",
    "bot.http",
    "bot.line",
    "bot.slack.app",
    "linebot.v3.messaging",
    "slack_bolt.adapter.socket_mode.async_handler",
    "slack_bolt.adapter.starlette.async_handler",
    "slack_bolt.async_app",
    "slack_sdk.web.async_client",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


def _be_a_server(order: dict[str, Any]) -> None:
    """Never returns."""
    code = 70
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environ"])
        sys.argv = ["koe", *order["argv"]]
        from bot.cli import main

        main()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Until its standard input ends; then its servers end, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _EVERYTHING:
        importlib.import_module(name)
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
                _be_a_server(order)
            alive.add(pid)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
