"""The commands of `koe`, by what they need to know. Heavy libraries are imported where they are used."""
