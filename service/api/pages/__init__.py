"""Pages for readers: help, documentation and the table of problems."""
