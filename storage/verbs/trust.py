"""What the trust balance is made of, and the drops that were told."""

from __future__ import annotations

from collections.abc import Sequence

from storage.records import Case, Event, Rating, Relationship, TrustDrop
from storage.verbs.rows import MARK, event_of, marked
from storage.verbs.transaction import Verbs


class TrustVerbs(Verbs):
    """The trust balance's inputs and its drops."""

    def relationship(
        self, customer_id: str, *, instruments: Sequence[str], since_ms: int, types: Sequence[str] = ()
    ) -> Relationship:
        """What happened between the shop and this customer since then: events of these types (or all), counted answers
        to these instruments, opt-outs, and every case."""
        found = self.relationships(customer_id, customer_id, instruments=instruments, since_ms=since_ms, types=types)
        return found[0] if found else Relationship(customer_id)

    def relationships(
        self, first: str, last: str, *, instruments: Sequence[str], since_ms: int, types: Sequence[str] = ()
    ) -> list[Relationship]:
        """The same for all customers with first ≤ id ≤ last of whom there is anything, in order of id. Reads what
        these customers have, by index, and nothing else."""
        params = {
            "first": first,
            "last": last,
            "since_ms": since_ms,
            "types": marked(types),
            "instruments": marked(instruments),
            "mark": MARK,
        }
        # LENGTH(…) = 0 keeps the database from looking for loose events by their empty customer: there may be many
        events = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE customer_id >= :first AND customer_id <= :last AND customer_id <> '' AND occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || type || :mark, '') <> :types)"
            " UNION SELECT l.id, l.type, l.occurred_ms, l.received_ms, o.customer_id, l.data, l.imported"
            " FROM events AS o JOIN events AS l ON l.ticket_id = o.ticket_id AND l.ticket_id <> ''"
            " WHERE o.customer_id >= :first AND o.customer_id <= :last AND o.customer_id <> ''"
            " AND LENGTH(l.customer_id) = 0 AND l.occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || l.type || :mark, '') <> :types)"
            " UNION SELECT l.id, l.type, l.occurred_ms, l.received_ms, o.customer_id, l.data, l.imported"
            " FROM events AS o JOIN events AS l ON l.order_id = o.order_id AND l.order_id <> ''"
            " WHERE o.customer_id >= :first AND o.customer_id <= :last AND o.customer_id <> ''"
            " AND LENGTH(l.customer_id) = 0 AND l.occurred_ms >= :since_ms"
            " AND (:types = '' OR REPLACE(:types, :mark || l.type || :mark, '') <> :types)"
            " ORDER BY 5, 3, 1",
            params,
        )
        ratings = self._db.all(
            "SELECT customer_id, id, instrument, value, answered_ms FROM answers"
            " WHERE customer_id >= :first AND customer_id <= :last AND customer_id <> ''"
            " AND REPLACE(:instruments, :mark || instrument || :mark, '') <> :instruments"
            " AND missing = '' AND countable = 1 AND answered_ms >= :since_ms ORDER BY customer_id, answered_ms, id",
            params,
        )
        opt_outs = self._db.all(
            "SELECT customer_id, at_ms FROM (SELECT customer_id, at_ms, given, LAG(given) OVER"
            " (PARTITION BY customer_id ORDER BY at_ms) AS before FROM consents"
            " WHERE customer_id >= :first AND customer_id <= :last AND kind = 'surveys') AS said"
            " WHERE given = 0 AND COALESCE(before, 1) = 1 AND at_ms >= :since_ms ORDER BY customer_id, at_ms",
            params,
        )
        cases = self._db.all(
            "SELECT id, customer_id, session_id, reason, words, state, contact, opened_ms, due_ms, outcome,"
            " settled_ms, card_ref, assignee, assignee_name, claimed_ms, snoozed_ms, replied_ms, overdue_ms,"
            " apologised_ms, asked_ms, after, reply_token, reply_token_ms FROM cases"
            " WHERE customer_id >= :first AND customer_id <= :last"
            " AND customer_id <> '' AND opened_ms >= :since_ms ORDER BY customer_id, opened_ms, id",
            params,
        )
        of_events: dict[str, list[Event]] = {}
        for row in events:
            of_events.setdefault(row[4], []).append(event_of(row))
        of_ratings: dict[str, list[Rating]] = {}
        for row in ratings:
            of_ratings.setdefault(row[0], []).append(Rating(*row[1:]))
        of_opt_outs: dict[str, list[int]] = {}
        for customer_id, at_ms in opt_outs:
            of_opt_outs.setdefault(customer_id, []).append(at_ms)
        of_cases: dict[str, list[Case]] = {}
        for row in cases:
            of_cases.setdefault(row[1], []).append(Case(*row))
        return [
            Relationship(
                customer_id,
                tuple(of_events.get(customer_id, ())),
                tuple(of_ratings.get(customer_id, ())),
                tuple(of_opt_outs.get(customer_id, ())),
                tuple(of_cases.get(customer_id, ())),
            )
            for customer_id in sorted({*of_events, *of_ratings, *of_opt_outs, *of_cases})
        ]

    def customers_after(self, customer_id: str, *, limit: int) -> list[str]:
        """The next ids of customers of whom anything is stored, in order; "" before the first: for walks over
        everybody, page by page."""
        rows = self._db.all(
            "SELECT id FROM (SELECT id FROM customers WHERE id > :customer_id ORDER BY id LIMIT :limit) AS c"
            " UNION SELECT customer_id FROM (SELECT DISTINCT customer_id FROM answers"
            " WHERE customer_id > :customer_id ORDER BY customer_id LIMIT :limit) AS a"
            " UNION SELECT customer_id FROM (SELECT DISTINCT customer_id FROM events"
            " WHERE customer_id > :customer_id ORDER BY customer_id LIMIT :limit) AS e"
            " ORDER BY 1 LIMIT :limit",
            {"customer_id": customer_id, "limit": limit},
        )
        return [row[0] for row in rows]

    def customers_touched(self, since_ms: int, until_ms: int, *, slack_ms: int) -> list[str]:
        """Customers of whom something was stored whose time lies in [since, until), in order of id: events since
        `since_ms - slack_ms`, whose deadlines may have passed in it, and answers, opt-outs, and cases whose promised
        time lies in it."""
        rows = self._db.all(
            "SELECT customer_id FROM events WHERE occurred_ms >= :events_ms AND occurred_ms < :until_ms"
            " UNION SELECT o.customer_id FROM events AS l JOIN events AS o ON o.ticket_id = l.ticket_id"
            " AND o.ticket_id <> '' WHERE l.occurred_ms >= :events_ms AND l.occurred_ms < :until_ms"
            " AND l.ticket_id <> '' AND LENGTH(l.customer_id) = 0"
            " UNION SELECT o.customer_id FROM events AS l JOIN events AS o ON o.order_id = l.order_id"
            " AND o.order_id <> '' WHERE l.occurred_ms >= :events_ms AND l.occurred_ms < :until_ms"
            " AND l.order_id <> '' AND LENGTH(l.customer_id) = 0"
            " UNION SELECT customer_id FROM answers WHERE answered_ms >= :since_ms AND answered_ms < :until_ms"
            " UNION SELECT customer_id FROM consents"
            " WHERE kind = 'surveys' AND given = 0 AND at_ms >= :since_ms AND at_ms < :until_ms"
            " UNION SELECT customer_id FROM cases WHERE opened_ms < :until_ms AND due_ms >= :since_ms"
            " AND due_ms < :until_ms ORDER BY 1",
            {"since_ms": since_ms, "events_ms": since_ms - slack_ms, "until_ms": until_ms},
        )
        return [row[0] for row in rows if row[0]]

    def promises_since(self, since_ms: int, *, after: tuple[int, str], limit: int) -> list[Event]:
        """Events of type "promise" made since then, in order of (time, id), those after that place."""
        rows = self._db.all(
            "SELECT id, type, occurred_ms, received_ms, customer_id, data, imported FROM events"
            " WHERE type = 'promise' AND occurred_ms >= :since_ms"
            " AND (occurred_ms > :after_ms OR (occurred_ms = :after_ms AND id > :after_id))"
            " ORDER BY occurred_ms, id LIMIT :limit",
            {"since_ms": since_ms, "after_ms": after[0], "after_id": after[1], "limit": limit},
        )
        return [event_of(row) for row in rows]

    def last_trust_drop_ms(self, customer_id: str) -> int | None:
        """When a drop of this customer's trust balance was found last, None if never."""
        row = self._db.one(
            "SELECT MAX(at_ms) FROM trust_drops WHERE customer_id = :customer_id", {"customer_id": customer_id}
        )
        return row[0] if row else None

    def note_trust_drop(self, drop: TrustDrop) -> bool:
        """Keep it. False when nothing was kept: one of this time is there, or the customer was erased."""
        if self.erased_ms(drop.customer_id) is not None:
            return False
        return (
            self._db.run(
                "INSERT INTO trust_drops (customer_id, at_ms, high, balance, case_id)"
                " VALUES (:customer_id, :at_ms, :high, :balance, :case_id) ON CONFLICT (customer_id, at_ms) DO NOTHING",
                {
                    "customer_id": drop.customer_id,
                    "at_ms": drop.at_ms,
                    "high": drop.high,
                    "balance": drop.balance,
                    "case_id": drop.case_id,
                },
            )
            == 1
        )
