"""Reports on a model, in figures with protocols and in images, as JSON and as one HTML page.

Each section measures one property of a model on an `EvaluationContext` and returns a `SectionResult`;
`assemble` joins the sections, `page` writes the HTML page, `comparison` compares models.
"""
