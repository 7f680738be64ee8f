"""SQL and nothing of chat: the store, its verbs and rows, one engine per database."""
