"""Access control: which clients may call this server, and from where."""
