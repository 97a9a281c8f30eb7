"""Points over REST."""

from commerce_core.accounts.permissions import Permission
from commerce_core.api.endpoints import api_view
from commerce_core.api.schemas import Input, Output

from .hooks import TooMany


class Rate(Output):
    units_per_point: int


class GrantIn(Input):
    points: int


@api_view(route_name="loyalty_rate", request_method="GET", permission="loyalty:vip", returns=Rate)
def show_rate(request):
    """What a point costs."""
    return Rate(units_per_point=request.registry.plugins.settings_of("loyalty").units_per_point)


@api_view(
    route_name="loyalty_grant",
    request_method="POST",
    permission="loyalty:grant",
    body=GrantIn,
    status=204,
    problems=(TooMany,),
)
def grant(request, body):
    """Give points away."""
    if body.points > 100:
        raise TooMany(most=100)
    request.audit("loyalty.grant", "points", after={"points": body.points})


@api_view(route_name="loyalty_feed", request_method="GET", permission=Permission.PUBLIC, returns=Rate)
def feed(request):
    """For anybody."""
    return Rate(units_per_point=1)
