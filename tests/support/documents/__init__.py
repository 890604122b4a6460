"""The Markdown pages of this repository: their blocks, links and generated tables.

Knows pages and the tables of the code. Knows nothing of how commands run; `tests/documents` runs them.
`make docs` writes the generated tables and mends links to code that moved. The modules:

    markdown     fenced blocks, headings and links of a page
    reference    every generated table, by page and marker
    api          the tables of the endpoints, from the OpenAPI document
    commands     the tables of the command lines, from their parsers
    code_links   links from a page to a function or class
    session      the commands of a page as one shell script
    published    waits until a server serves the newest versions; a script of its own
"""
