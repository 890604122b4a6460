"""What a run leaves on the disk: which weights it keeps, and how files are written."""
