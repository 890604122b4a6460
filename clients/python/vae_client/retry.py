"""When a request is sent again, and when no more.

Knows failures, delays and a budget. Knows nothing of HTTP libraries; it never sleeps.

Every request of this client can be repeated: the client chooses the seed, and the same seed of the same
version yields the same result. So these are repeated: 429, 503 and 504, and connections that broke before the
answer was complete. A time-out of the client is not repeated: the caller's time is used up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vae_client.errors import Refused, VaeError

#: Statuses that mean: not now.
REPEATED_STATUSES = frozenset({429, 503, 504})


@dataclass(frozen=True)
class Retry:
    """The retry policy of a client.

    A delay is that of `Retry-After`, or without one (or one of 0) `first_delay_s`, doubled each time up to
    `longest_delay_s`. Jitter makes it up to a quarter longer, so that many clients do not return at once.
    """

    tries: int = 6
    """Most times that one request is sent; 1 never repeats."""
    budget_s: float = 30.0
    """Seconds from the first try after which no further one begins."""
    first_delay_s: float = 0.25
    longest_delay_s: float = 8.0

    def begin(
        self, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> Tries:
        """The tries of one request.

        Args:
            clock: Seconds of a monotonic clock.
            chance: A number in [0, 1).
        """
        return Tries(self, clock, chance, clock())


@dataclass
class Tries:
    """The tries of one request so far."""

    policy: Retry
    clock: Callable[[], float]
    chance: Callable[[], float]
    begun: float
    count: int = field(default=1)
    """The number of the present try."""

    def delay_after(self, failure: VaeError) -> float | None:
        """Seconds until the next try; None if there is none, and `failure` is the result."""
        stated = failure.retry_after_s if isinstance(failure, Refused) else None
        if self.count >= self.policy.tries:
            return None
        doubled = self.policy.first_delay_s * 2.0 ** (self.count - 1)
        # 0 would bring all clients back at once, and use up the tries within milliseconds.
        delay = stated or min(doubled, self.policy.longest_delay_s)
        delay *= 1.0 + 0.25 * self.chance()
        if self.clock() - self.begun + delay > self.policy.budget_s:
            return None
        self.count += 1
        return delay
