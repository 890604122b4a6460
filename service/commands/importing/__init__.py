"""`vae-store import`: graphs that were made elsewhere become a verified version.

    files ─▶ graph_files ─▶ roles ─▶ probing ─▶ draft ─▶ publish

Every check runs before anything is written, in seconds, and without torch.
"""
