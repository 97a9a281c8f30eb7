from commerce_core.plugin import Plugin, Section, hookimpl
from sample_prices.rules import percent_rule

plugin = Plugin(name="fiveoff", hooks="sample_prices.five", settings="sample_prices.five:Settings", after=())


class Settings(Section):
    exclusive: bool = False


@hookimpl
def commerce_register_price_rules(settings):
    return [percent_rule("five-off", 5, "promo" if settings.exclusive else None)]
