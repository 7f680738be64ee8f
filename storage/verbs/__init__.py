"""The verbs of a transaction by subject; `storage.store.Tx` has them all. SQL stands inside the verb that uses it."""
