"""Dynamic prices that explain themselves: rules, coupons and price lists. See the README beside this package."""

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="pricing",
    hooks="commerce_pricing_rules.hooks",
    settings="commerce_pricing_rules.settings:Settings",
    models="commerce_pricing_rules.models",
    migrations="commerce_pricing_rules.migrations",
    capabilities=("pricing.rules", "pricing.coupons", "pricing.price-lists"),
)
