"""Who may call this server, and from where."""
