"""Requests in a fixed order, and the answers to them as text that people can read and review.

Knows `create_app`, `Settings` and the command lines. Knows no other module of the service, so that modules
may move while the answers stay.

    models      a store of models whose answers have the same bits on every processor
    payloads    request bodies: JSON, npy and PNG, the same bytes with every library
    transcript  one exchange as text: what varies from run to run is replaced, everything else is kept
    json_text   JSON in lines, token by token
    notebook    applications in this process, and what was asked of them
    wire        bytes on a connection to a server process
    commands    what the command lines print
    topics      the requests; each topic becomes one file in `tests/contract/recorded`
    plugin      pytest's `--record-answers`
"""
