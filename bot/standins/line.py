"""The local LINE: the Messaging API's own paths, and the people who use it, whose taps and words become signed
webhooks. What there is stands in `line_chats.py`, the API in `line_api.py`, the way to the bot in `line_to_bot.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from bot.standins.line_api import MessagingApi
from bot.standins.line_chats import Chat, Chats, LineUser
from bot.standins.line_to_bot import LineToBot
from bot.standins.wire import Clock, JsonObject, NotOnScreenError


class LineStandin(Chats):
    """The platform and its people. Start `app` with `bot.standins.serve`; it closes its connections at
    shutdown.

    Args:
        webhook_url: where events go; "" delivers nothing.
        redelivery: repeat a webhook that got no 2xx (see `LineToBot`).
        quota: messages per calendar month in Japan; None is a plan without a cap.
        rate_limits: False switches the documented call rates off (for benchmarks).
    """

    def __init__(
        self,
        *,
        clock: Clock,
        channel_secret: str,
        access_token: str,
        webhook_url: str,
        destination: str = "U" + "0123456789abcdef" * 2,
        basic_id: str = "@koe",
        name: str = "Koe",
        redelivery: bool = False,
        quota: int | None = None,
        rate_limits: bool = True,
    ) -> None:
        super().__init__(clock=clock, name=name)
        self.to_bot = LineToBot(
            clock=clock,
            channel_secret=channel_secret,
            webhook_url=webhook_url,
            destination=destination,
            redelivery=redelivery,
        )
        self.api = MessagingApi(
            self, self.to_bot, access_token=access_token, basic_id=basic_id, quota=quota, rate_limits=rate_limits
        )
        self.app = Starlette(routes=self.api.routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.to_bot.close()

    def fail_next(self, path: str, kind: str | int, times: int = 1) -> None:
        """Makes the next calls of `path` ("*": any) go wrong.

        Kinds: a status code (with its documented body); "rate" and "monthly" (the two 429); "timeout"
        (nothing is done, nothing answered), "timeout_after_accept"; "reset_before", "reset_after_accept"
        (the connection is dropped, the call undone or done); "500_after_accept"; "html500"; "slow:SECONDS"
        (done, answered late).
        """
        self.api.faults.add(path, str(kind), times)

    # --- what people do ---

    def add_user(self, name: str, language: str = "ja", *, friend: bool = True, user_id: str | None = None) -> str:
        """A new person's user id. A friend's `follow` event goes out at once when a loop runs, at the
        latest before the next event; `settled()` waits for it. An empty `language` is one LINE does not
        tell."""
        user_id = user_id or f"U{secrets.token_hex(16)}"
        self.users[user_id] = LineUser(name=name, language=language, friend=friend)
        self.chats[user_id] = Chat()
        if friend:
            self.to_bot.queue(self.to_bot.event(user_id, "follow", follow={"isUnblocked": False}))
        self.changed()
        return user_id

    def block(self, user_id: str) -> None:
        """The person blocks the account: `unfollow`, and nothing reaches them any more."""
        user = self.user(user_id)
        if not user.blocked:
            user.blocked = True
            self.to_bot.queue(self.to_bot.event(user_id, "unfollow", token=False))
            self.changed()

    def unblock(self, user_id: str) -> None:
        """The person takes the block back: `follow` with isUnblocked."""
        user = self.user(user_id)
        if user.blocked:
            user.blocked, user.friend = False, True
            self.to_bot.queue(self.to_bot.event(user_id, "follow", follow={"isUnblocked": True}))
            self.changed()

    async def says(self, user_id: str, text: str) -> int:
        """The person writes. Returns the webhook's status (0: no answer)."""
        return await self.to_bot.send(self.text_event(user_id, text))

    async def taps(self, user_id: str, data: str, display_text: str = "") -> int:
        """The person taps a postback button. Without `display_text` the text of the visible button with
        this data is written into the chat; data that is on no screen is sent all the same (an old client,
        a forger)."""
        return await self.to_bot.send(self.postback_event(user_id, data, display_text))

    async def taps_label(self, user_id: str, label: str) -> int:
        """The person taps the newest button that says `label`: a postback, or a text it makes them say.

        Raises:
            NotOnScreenError: no button says that.
        """
        quick = [("quick", item["action"]) for item in self.quick_replies(user_id)]
        flex = [("", action) for entry in self.chats[user_id].entries for action in entry.actions]
        for _, action in reversed([*flex, *quick]):
            if action.get("label") == label and action["type"] in ("postback", "message"):
                if action["type"] == "message":
                    return await self.says(user_id, action["text"])
                shown = action.get("displayText") or action.get("text") or ""
                return await self.taps(user_id, action["data"], shown)
        seen = ", ".join(sorted({str(action.get("label")) for _, action in [*flex, *quick]}))
        raise NotOnScreenError(f"no button says {label!r}; the screen shows: {seen or 'no buttons'}")

    async def sends_sticker(self, user_id: str, keywords: Sequence[str] = ()) -> int:
        message: JsonObject = {
            "type": "sticker",
            "packageId": "446",
            "stickerId": "1988",
            "stickerResourceType": "STATIC",
            "quoteToken": secrets.token_urlsafe(24),
        }
        if keywords:
            message["keywords"] = list(keywords)[:15]
        return await self.to_bot.send(self._message_event(user_id, message))

    async def sends_photo(self, user_id: str) -> int:
        message = {
            "type": "image",
            "contentProvider": {"type": "line"},
            "quoteToken": secrets.token_urlsafe(24),
        }
        return await self.to_bot.send(self._message_event(user_id, message))

    async def unsends(self, user_id: str, message_id: str) -> int:
        """The person takes a message back: it leaves the chat, and the bot is asked to forget it."""
        chat = self.chats[user_id]
        if not any(entry.id == message_id and entry.sender == "user" for entry in chat.entries):
            raise NotOnScreenError(f"{user_id} has no message {message_id}")
        chat.entries = [entry for entry in chat.entries if entry.id != message_id]
        self.changed()
        return await self.to_bot.send(
            self.to_bot.event(user_id, "unsend", token=False, unsend={"messageId": message_id})
        )

    async def links_account(self, user_id: str, link_token: str, nonce: str) -> int:
        """The person came back from the shop's login page. A spent or old link token makes no event
        (status 0)."""
        if self.api.spend_link_token(link_token) != user_id:
            return 0
        self.users[user_id].linked_nonce = nonce
        return await self.to_bot.send(self.to_bot.event(user_id, "accountLink", link={"result": "ok", "nonce": nonce}))

    def text_event(self, user_id: str, text: str) -> JsonObject:
        """The event of a text just written (it is in the chat now); the caller delivers it with
        `deliver_raw`."""
        message = {"type": "text", "text": text, "quoteToken": secrets.token_urlsafe(24)}
        return self._message_event(user_id, message)

    def postback_event(self, user_id: str, data: str, display_text: str = "") -> JsonObject:
        """The event of a button just tapped; as `text_event`."""
        for button in reversed(self.tappables(user_id)):
            if not display_text and button.data == data:
                display_text = button.display_text
        chat = self.chats[user_id]
        if any(item["action"].get("data") == data for item in self.quick_replies(user_id)):
            chat.quick_hidden = True
        self.user(user_id).wrote_at_ms = self.clock.now_ms()
        if display_text:
            self.append(user_id, "user", {"type": "text", "text": display_text}, "user")
        else:
            self.changed()
        return self.to_bot.event(user_id, "postback", postback={"data": data})

    def _message_event(self, user_id: str, message: JsonObject) -> JsonObject:
        self.user(user_id).wrote_at_ms = self.clock.now_ms()
        message_id = self.append(user_id, "user", message, "user")
        sent = {"id": message_id, **message, "markAsReadToken": self.api.read_token()}
        return self.to_bot.event(user_id, "message", message=sent)
