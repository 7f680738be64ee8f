"""Business events: the shop tells Koe what happened to a customer."""
