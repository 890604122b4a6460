"""Reports: what a model is worth, in figures with protocols and in pictures, as JSON and as one HTML page.

Each section measures one side of a model on a `Workbench` and gives `Findings`; `training.report.document`
puts them together, `training.report.page` writes them for people, `training.report.comparison` sets models
side by side.
"""
