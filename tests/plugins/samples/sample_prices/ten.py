from commerce_core.plugin import Plugin, Section, hookimpl
from sample_prices.rules import percent_rule

plugin = Plugin(name="tenoff", hooks="sample_prices.ten", settings="sample_prices.ten:Settings")


class Settings(Section):
    exclusive: bool = False


@hookimpl
def commerce_register_price_rules(settings):
    return [percent_rule("ten-off", 10, "promo" if settings.exclusive else None)]
