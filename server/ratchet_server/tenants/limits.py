"""How much a tenant has used in the minute, counted in this process. Over its limit it is told when to come back."""

from __future__ import annotations

import time
from collections.abc import Callable

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from ratchet_server.engine.errors import RequestInvalid
from ratchet_server.serving.exchange import Request
from ratchet_server.tenants.settings import TenantPolicy

__all__ = ["LimitExceeded", "TenantLimits"]

_CHARS_PER_TOKEN = 4
_SOONEST = 0.1


class LimitExceeded(Exception):
    """A tenant has used what it may use.

    Attributes:
        retry_after: Seconds until there is room again.
    """

    def __init__(self, tenant: str, what: str, limit: int, retry_after: float) -> None:
        who = f"tenant {tenant!r}" if tenant else "this caller"
        super().__init__(f"{who} may use {limit} {what} a minute; try again in {retry_after:.1f} s")
        self.tenant = tenant
        self.limit = limit
        self.retry_after = retry_after


class TenantLimits:
    """One per server."""

    def __init__(self) -> None:
        storage = MemoryStorage()
        self._requests = MovingWindowRateLimiter(storage)
        self._tokens = FixedWindowRateLimiter(storage)

    def take(self, request: Request, policy: TenantPolicy) -> Callable[[int], None]:
        """Count a request, and the most tokens it can need.

        Returns:
            Tells how many tokens it did need; a request that never ends properly has used what it was counted for.

        Raises:
            LimitExceeded: There is no room now.
            RequestInvalid: There never will be.
        """
        # Tokens first: a request that is turned away has not been one.
        settle = self._take_tokens(request, policy.tokens_per_minute)
        if policy.requests_per_minute is not None:
            allowed = RateLimitItemPerMinute(policy.requests_per_minute)
            if not self._requests.hit(allowed, "requests", request.tenant):
                settle(0)
                stats = self._requests.get_window_stats(allowed, "requests", request.tenant)
                raise LimitExceeded(request.tenant, "requests", policy.requests_per_minute, _until(stats.reset_time))
        return settle

    def _take_tokens(self, request: Request, limit: int | None) -> Callable[[int], None]:
        if limit is None:
            return lambda used: None
        chars = sum(len(message.content) for message in request.messages)
        most = chars // _CHARS_PER_TOKEN + request.sampling.max_tokens
        if most > limit:
            raise RequestInvalid(
                f"it can need {most} tokens, the tenant's limit is {limit} a minute: shorten it or lower max_tokens"
            )
        allowed, key = RateLimitItemPerMinute(limit), ("tokens", request.tenant)
        if not self._tokens.test(allowed, *key, cost=most) or not self._tokens.hit(allowed, *key, cost=most):
            stats = self._tokens.get_window_stats(allowed, *key)
            raise LimitExceeded(request.tenant, "tokens", limit, _until(stats.reset_time))
        window = round(self._tokens.get_window_stats(allowed, *key).reset_time)

        def settle(used: int) -> None:
            if round(self._tokens.get_window_stats(allowed, *key).reset_time) == window:
                self._tokens.hit(allowed, *key, cost=used - most)

        return settle


def _until(moment: float) -> float:
    return max(_SOONEST, moment - time.time())
