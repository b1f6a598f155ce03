"""Was it the service that refused, or a proxy, a firewall, a login page on the way to it?

What stands in the way says nothing about the token or the prompt: another tier is asked, and no login is given up.
"""

from __future__ import annotations

from ...errors import TierBroken
from ...types import Reason
from ..complaints import Complaint, Kind
from ..http import Reply
from .tokens import is_githubs

PAGES = ("text/html", "application/xhtml+xml")
SERVICES_OWN = (401, 402, 421, 429)  # nobody on the way speaks of our token, credits, seat or pace


def is_in_the_way(reply: Reply, complaint: Complaint, url: str) -> bool:
    """Whether something else answered for the service at `url`.

    Each reply of GitHub's own carries an id. Another service (`COPILOT_API_BASE`) need not send one, but it complains
    in JSON, or has no such path. An error page of a status from 500 on is an outage, whoever words it.
    """
    if reply.status >= 500:
        return False
    if reply.content_type in PAGES:
        return True
    if "x-github-request-id" in reply.headers or reply.status in SERVICES_OWN:
        return False
    is_an_error = complaint.is_structured and bool(complaint.message or complaint.code)
    if is_githubs(url):
        return not is_an_error or reply.status == 403
    return not is_an_error and complaint.kind is not Kind.ADDRESS


def in_the_way(tier: str, status: int) -> TierBroken:
    """It may stand there for long, so it counts."""
    return TierBroken(
        tier,
        f"a proxy or login page is in the way ({status})",
        reason=Reason.PORTAL,
        cure="open any web page and log in to the network, or let its proxy pass GitHub Copilot",
    )
