"""The configuration of a run: recipes in TOML, and error messages that name the key."""
