"""What can go wrong with the database, in classes a caller would act on differently."""

from __future__ import annotations


class StoreError(Exception):
    """The database did not do what was asked; nothing of the unit was stored. The message says what to do."""


class StoreBusy(StoreError):
    """Locked by somebody else or out of disk: nothing was stored, the same unit may work later. Callers
    answer 503."""


class StoreInUse(StoreError):
    """Another server already works on this database file."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of Koe."""


class Conflict(StoreError):
    """A row that may exist once exists already (an id, the open case of a customer, the session of an
    invitation)."""
