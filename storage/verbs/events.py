"""What came in: platform events seen once, business events, and who was referred by whom."""

from __future__ import annotations

import json
from collections.abc import Sequence

from storage.connection import clean
from storage.records import Event, Happening
from storage.verbs.rows import MARK, event_of, marked
from storage.verbs.weeks import WeekVerbs


class EventVerbs(WeekVerbs):
    """What came in: platform events and business events."""

    def note_inbound(self, channel: str, workspace: str, event_id: str, at_ms: int) -> bool:
        """True the first time this platform event is seen; False ever after."""
        return (
            self._db.run(
                "INSERT INTO inbound (channel, workspace, event_id, at_ms) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (channel, workspace, event_id) DO NOTHING",
                (channel, workspace, event_id, at_ms),
            )
            == 1
        )

    def forget_inbound(self, before_ms: int, after: tuple[str, ...], *, limit: int) -> tuple[str, ...]:
        """Forget the platform events seen before `before_ms` among the `limit` that follow this key in order. The last
        key looked at, to go on from; () at the end. () begins."""
        channel, workspace, event_id = after or ("", "", "")
        rows = self._db.all(
            "SELECT channel, workspace, event_id, at_ms FROM inbound"
            " WHERE (channel, workspace, event_id) > (:channel, :workspace, :event_id)"
            " ORDER BY channel, workspace, event_id LIMIT :limit",
            {"channel": channel, "workspace": workspace, "event_id": event_id, "limit": limit},
        )
        for *key, at_ms in rows:
            if at_ms < before_ms:
                self._db.run(
                    "DELETE FROM inbound WHERE channel = :channel AND workspace = :workspace AND event_id = :event_id",
                    dict(zip(("channel", "workspace", "event_id"), key, strict=True)),
                )
        return tuple(rows[-1][:3]) if len(rows) == limit else ()

    def note_event(self, event: Event) -> bool:
        """Store a business event. False (and nothing changes) when its id is known.

        An event about a customer who was erased is noted without the person and what it says.
        """
        gone = event.customer_id != "" and self.erased_ms(event.customer_id) is not None
        data = "{}" if gone else clean(event.data)
        order_id, ticket_id = _order_and_ticket(data)
        return (
            self._db.run(
                "INSERT INTO events (id, type, occurred_ms, received_ms, customer_id, data, imported,"
                " order_id, ticket_id)"
                " VALUES (:id, :type, :occurred_ms, :received_ms, :customer_id, :data, :imported, :order_id,"
                " :ticket_id)"
                " ON CONFLICT (id) DO NOTHING",
                {
                    "id": event.id,
                    "type": event.type,
                    "occurred_ms": event.occurred_ms,
                    "received_ms": event.received_ms,
                    "customer_id": "" if gone else event.customer_id,
                    "data": data,
                    "imported": int(event.imported),
                    "order_id": order_id,
                    "ticket_id": ticket_id,
                },
            )
            == 1
        )

    def find_event(self, event_id: str) -> Event | None:
        """The event, or None."""
        row = self._db.one(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events WHERE id = :id",
            {"id": event_id},
        )
        return event_of(row) if row else None

    def events_of(self, customer_id: str, *, types: Sequence[str] = (), limit: int = 100) -> list[Event]:
        """Newest first."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE customer_id = :customer_id"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " ORDER BY occurred_ms DESC, id DESC LIMIT :limit",
            {"customer_id": customer_id, "types": marked(types), "mark": MARK, "limit": limit},
        )
        return [event_of(row) for row in rows]

    def events_between(
        self,
        start_ms: int,
        end_ms: int,
        *,
        type: str = "",  # noqa: A002 – the row's word
    ) -> list[Event]:
        """Events that occurred in [start, end), oldest first."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms AND (:type = '' OR type = :type)"
            " ORDER BY occurred_ms, id",
            {"start_ms": start_ms, "end_ms": end_ms, "type": type},
        )
        return [event_of(row) for row in rows]

    def events_page(
        self, start_ms: int, end_ms: int, *, types: Sequence[str] = (), after: Event | None = None, limit: int = 2_000
    ) -> list[Event]:
        """The next events of these types (or all) that occurred in [start, end), oldest first: those behind `after`,
        the last one of the page before. Fewer than `limit` are the last."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms"
            " AND (occurred_ms > :after_ms OR (occurred_ms = :after_ms AND id > :after_id))"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " ORDER BY occurred_ms, id LIMIT :limit",
            {
                "start_ms": start_ms if after is None else after.occurred_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.occurred_ms,
                "after_id": "" if after is None else after.id,
                "types": marked(types),
                "mark": MARK,
                "limit": limit,
            },
        )
        return [event_of(row) for row in rows]

    def happenings(
        self,
        start_ms: int,
        end_ms: int,
        *,
        types: Sequence[str],
        after: Happening | None = None,
        limit: int = 5_000,
    ) -> list[Happening]:
        """`events_page` with fewer columns, for who reads many."""
        rows = self._db.all(
            "SELECT occurred_ms, id, type, customer_id, data FROM events"
            " WHERE occurred_ms >= :start_ms AND occurred_ms < :end_ms"
            " AND (occurred_ms > :after_ms OR (occurred_ms = :after_ms AND id > :after_id))"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " ORDER BY occurred_ms, id LIMIT :limit",
            {
                "start_ms": start_ms if after is None else after.occurred_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.occurred_ms,
                "after_id": "" if after is None else after.id,
                "types": marked(types),
                "mark": MARK,
                "limit": limit,
            },
        )
        return [Happening._make(row) for row in rows]

    def contract_steps(self, before_ms: int) -> list[Event]:
        """Every beginning, renewal and end of a contract before an instant, however long ago, oldest first."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE type IN ('contract_start', 'contract_renew', 'contract_cancel') AND occurred_ms < :before_ms"
            " ORDER BY occurred_ms, id",
            {"before_ms": before_ms},
        )
        return [event_of(row) for row in rows]

    def events_span(self) -> tuple[int, int] | None:
        """When the first and the last event occurred, in ms; None while there is none."""
        row = self._db.one("SELECT (SELECT MIN(occurred_ms) FROM events), (SELECT MAX(occurred_ms) FROM events)")
        return None if row is None or row[0] is None else (row[0], row[1])


def _order_and_ticket(data: str) -> tuple[str, str]:
    """The order and ticket numbers of an event's data, "" where there is none."""
    try:
        fields = json.loads(data)
    except ValueError:
        return "", ""
    if not isinstance(fields, dict):
        return "", ""
    order, ticket = fields.get("order"), fields.get("ticket")
    return (
        str(order) if isinstance(order, (str, int)) else "",
        str(ticket) if isinstance(ticket, (str, int)) else "",
    )
