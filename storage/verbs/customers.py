"""Who is who: customers, the keys that join them, their addresses and consents, and their referral codes."""

from __future__ import annotations

from storage.connection import clean
from storage.records import Address, Customer
from storage.verbs.transaction import Verbs


class CustomerVerbs(Verbs):
    """Customers, their keys, addresses, consents and referral codes."""

    def put_customer(self, customer: Customer) -> None:
        """Insert, or fill in name and language when the new ones are not empty. Nothing for one who was erased."""
        if self.erased_ms(customer.id) is not None:
            return
        self._db.run(
            "INSERT INTO customers (id, name, language, created_ms) VALUES (:id, :name, :language, :created_ms)"
            " ON CONFLICT (id) DO UPDATE SET"
            " name = CASE WHEN excluded.name <> '' THEN excluded.name ELSE customers.name END,"
            " language = CASE WHEN excluded.language <> '' THEN excluded.language ELSE customers.language"
            " END",
            {
                "id": customer.id,
                "name": clean(customer.name),
                "language": customer.language,
                "created_ms": customer.created_ms,
            },
        )

    def find_customer(self, customer_id: str) -> Customer | None:
        """The customer, or None."""
        row = self._db.one("SELECT id, name, language, created_ms FROM customers WHERE id = :id", {"id": customer_id})
        return Customer(*row) if row else None

    def search_customers(self, words: str, *, limit: int = 20) -> list[Customer]:
        """By id, name (a part is enough) or order number (whole); an exact id first. No words, no customers.

        Reads all customers: meant for a member of staff who types, not for a loop.
        """
        words = clean(words).strip()
        if not words:
            return []
        part = words.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        rows = self._db.all(
            "SELECT id, name, language, created_ms FROM customers"
            " WHERE LOWER(id) LIKE :part ESCAPE '!' OR LOWER(name) LIKE :part ESCAPE '!'"
            " OR id IN (SELECT customer_id FROM events WHERE order_id = :words AND order_id <> '')"
            " ORDER BY CASE WHEN id = :words THEN 0 ELSE 1 END, id LIMIT :limit",
            {"part": f"%{part}%", "words": words, "limit": limit},
        )
        return [Customer(*row) for row in rows]

    def customers_of_order(self, order_id: str) -> list[str]:
        """Ids of the customers whose events name this order number; at most two."""
        rows = self._db.all(
            "SELECT DISTINCT customer_id FROM events"
            " WHERE order_id = :order_id AND order_id <> '' AND customer_id <> '' LIMIT 2",
            {"order_id": order_id},
        )
        return [row[0] for row in rows]

    def put_match_key(self, customer_id: str, kind: str, key_hash: str, source: str, at_ms: int) -> None:
        """From now on this key leads to this customer (and to no other). Nothing for one who was erased."""
        if self.erased_ms(customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO match_keys (kind, key_hash, customer_id, source, created_ms)"
            " VALUES (:kind, :key_hash, :customer_id, :source, :at_ms)"
            " ON CONFLICT (kind, key_hash) DO UPDATE SET customer_id = excluded.customer_id, source = excluded.source,"
            " created_ms = excluded.created_ms",
            {
                "kind": kind,
                "key_hash": key_hash,
                "customer_id": customer_id,
                "source": source,
                "at_ms": at_ms,
            },
        )

    def put_address(self, address: Address) -> None:
        """Insert, or link / refresh language of the existing one; never unlinks; a block is kept.

        A link to another customer replaces the present one only if it is at least as certain (linked, coded, claimed,
        "" in this order). Nothing is linked to a customer who was erased.
        """
        if address.customer_id and self.erased_ms(address.customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO addresses (channel, workspace, external_id, customer_id, source, certainty, language,"
            " created_ms, blocked_ms)"
            " VALUES (:channel, :workspace, :external_id, :customer_id, :source, :certainty, :language,"
            " :created_ms, :blocked_ms)"
            " ON CONFLICT (channel, workspace, external_id) DO UPDATE SET"
            " language = CASE WHEN excluded.language <> '' THEN excluded.language ELSE addresses.language"
            " END,"
            " blocked_ms = COALESCE(addresses.blocked_ms, excluded.blocked_ms)",
            {
                "channel": address.channel,
                "workspace": address.workspace,
                "external_id": address.external_id,
                "customer_id": address.customer_id,
                "source": address.source,
                "certainty": address.certainty,
                "language": address.language,
                "created_ms": address.created_ms,
                "blocked_ms": address.blocked_ms,
            },
        )
        if address.customer_id:
            self._db.run(
                "UPDATE addresses SET customer_id = :customer_id, source = :source, certainty = :certainty"
                " WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id"
                " AND (customer_id = '' OR :rank >="
                " CASE certainty WHEN 'linked' THEN 3 WHEN 'coded' THEN 2 WHEN 'claimed' THEN 1 ELSE 0 END)",
                {
                    "channel": address.channel,
                    "workspace": address.workspace,
                    "external_id": address.external_id,
                    "customer_id": address.customer_id,
                    "source": address.source,
                    "certainty": address.certainty,
                    "rank": ("", "claimed", "coded", "linked").index(address.certainty),
                },
            )

    def find_address(self, channel: str, workspace: str, external_id: str) -> Address | None:
        """The address, or None."""
        row = self._db.one(
            "SELECT channel, workspace, external_id, customer_id, source, certainty, language, created_ms, blocked_ms"
            " FROM addresses WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id",
            {"channel": channel, "workspace": workspace, "external_id": external_id},
        )
        return Address(*row) if row else None

    def addresses_of(self, customer_id: str) -> list[Address]:
        """The addresses linked to this customer, oldest first; none for ""."""
        rows = self._db.all(
            "SELECT channel, workspace, external_id, customer_id, source, certainty, language, created_ms, blocked_ms"
            " FROM addresses WHERE customer_id = :customer_id AND customer_id <> ''"
            " ORDER BY created_ms, channel, workspace, external_id",
            {"customer_id": customer_id},
        )
        return [Address(*row) for row in rows]

    def told_addresses(self, channel: str, *, limit: int) -> list[Address]:
        """The addresses that the shop told of, in events or a file, newest first; without blocked ones."""
        rows = self._db.all(
            "SELECT channel, workspace, external_id, customer_id, source, certainty, language, created_ms, blocked_ms"
            " FROM addresses WHERE channel = :channel AND source IN ('event', 'import') AND blocked_ms IS NULL"
            " ORDER BY created_ms DESC, external_id LIMIT :limit",
            {"channel": channel, "limit": limit},
        )
        return [Address(*row) for row in rows]

    def set_blocked(self, channel: str, workspace: str, external_id: str, at_ms: int | None) -> None:
        """The customer blocked the account at that instant; None: took the block back. Unknown ones stay unknown."""
        self._db.run(
            "UPDATE addresses SET blocked_ms = :at_ms"
            " WHERE channel = :channel AND workspace = :workspace AND external_id = :external_id",
            {"channel": channel, "workspace": workspace, "external_id": external_id, "at_ms": at_ms},
        )

    def set_consent(self, customer_id: str, kind: str, given: bool, at_ms: int, source: str) -> None:
        """kind: "surveys" (given=False is the opt-out), "news", "quote", "storage". History is kept, the latest
        holds."""
        if self.erased_ms(customer_id) is not None:
            return
        self._db.run(
            "INSERT INTO consents (customer_id, kind, at_ms, given, source)"
            " VALUES (:customer_id, :kind, :at_ms, :given, :source)"
            " ON CONFLICT (customer_id, kind, at_ms) DO UPDATE SET given = excluded.given, source = excluded.source",
            {"customer_id": customer_id, "kind": kind, "at_ms": at_ms, "given": int(given), "source": source},
        )

    def consent(self, customer_id: str, kind: str) -> bool | None:
        """What the customer said last, or None if nothing."""
        row = self._db.one(
            "SELECT given FROM consents WHERE customer_id = :customer_id AND kind = :kind ORDER BY at_ms DESC LIMIT 1",
            {"customer_id": customer_id, "kind": kind},
        )
        return bool(row[0]) if row else None

    def referral_offered_ms(self, customer_id: str) -> int | None:
        """When this customer was last asked to refer somebody; None: never."""
        row = self._db.one(
            "SELECT offered_ms FROM referrers WHERE customer_id = :customer_id", {"customer_id": customer_id}
        )
        return row[0] if row else None

    def note_referral_offer(self, customer_id: str, at_ms: int) -> None:
        """This customer is asked now to refer somebody."""
        self._db.run(
            "INSERT INTO referrers (customer_id, code, offered_ms) VALUES (:customer_id, '', :at_ms)"
            " ON CONFLICT (customer_id) DO UPDATE SET offered_ms = excluded.offered_ms",
            {"customer_id": customer_id, "at_ms": at_ms},
        )

    def referral_code(self, customer_id: str, drawn: str, at_ms: int) -> str:
        """The code of this customer: `drawn` (free, see customer_of_referral_code) when there was none yet."""
        self._db.run(
            "INSERT INTO referrers (customer_id, code, offered_ms) VALUES (:customer_id, :drawn, :at_ms)"
            " ON CONFLICT (customer_id) DO UPDATE SET code = excluded.code WHERE referrers.code = ''",
            {"customer_id": customer_id, "drawn": drawn, "at_ms": at_ms},
        )
        row = self._db.one("SELECT code FROM referrers WHERE customer_id = :customer_id", {"customer_id": customer_id})
        assert row is not None
        return str(row[0])

    def customer_of_referral_code(self, code: str) -> str | None:
        """Whose code this is."""
        row = self._db.one("SELECT customer_id FROM referrers WHERE code = :code AND code <> ''", {"code": code})
        return row[0] if row else None
