"""Rules for the objects of deploy/: what a cluster would refuse, and what it would accept and never run.

    findings(objects)  ─▶  one sentence for each fault, or nothing

Knows the kinds that deploy/ has, as dictionaries. Knows nothing of files, helm or the server's settings.
A schema does not see most of these faults: a selector that matches no pod, a probe of a port that no
container has, a request above its limit.
"""

from kube_rules.findings import findings

__all__ = ["findings"]
