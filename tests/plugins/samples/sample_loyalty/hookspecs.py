from commerce_core.plugin import hookspec


@hookspec
def loyalty_earning(ctx, points):
    """Other plugins may say how many points more there are."""
