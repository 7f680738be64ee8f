"""The local LINE and Slack: small servers with state that refuse what the real platforms refuse.
Nothing but the demo and the tests imports this package."""

from bot.standins.wire import Served, serve

__all__ = ["Served", "serve"]
