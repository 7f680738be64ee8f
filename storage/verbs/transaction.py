"""What every verb stands on: the transaction, the texts kept under a name, and who was erased."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from storage.connection import Connection, clean


class Verbs:
    """One transaction. No verb awaits, commits or asks for the time."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def get_meta(self, key: str) -> str | None:
        """The text kept under this name, or None."""
        row = self._db.one("SELECT value FROM meta WHERE key = :key", {"key": key})
        return row[0] if row else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a text under this name."""
        self._db.run(
            "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value ="
            " excluded.value",
            {"key": key, "value": clean(value)},
        )

    def erased_ms(self, customer_id: str) -> int | None:
        """When this customer was erased; None for everybody else."""
        pseudonym = self._pseudonym(customer_id, create=False)
        if not pseudonym:
            return None
        row = self._db.one("SELECT erased_ms FROM tombstones WHERE pseudonym = :pseudonym", {"pseudonym": pseudonym})
        return row[0] if row else None

    def _pseudonym(self, customer_id: str, *, create: bool) -> str:
        """What stands for an erased customer: a hash keyed with a secret of this database; "" before the first
        erasure."""
        secret = self.get_meta("pseudonym_key")
        if secret is None:
            if not create:
                return ""
            secret = secrets.token_hex(32)
            self.set_meta("pseudonym_key", secret)
        digest = hmac.new(bytes.fromhex(secret), clean(customer_id).encode(), hashlib.sha256).hexdigest()
        return f"erased-{digest[:32]}"
