"""Reports: what a model is worth, in figures with protocols and in pictures, as JSON and as one HTML page.

Each section measures one side of a model on a `Workbench` and gives `Findings`; `assemble` joins the
sections, `page` writes the HTML page, `comparison` compares models.
"""
