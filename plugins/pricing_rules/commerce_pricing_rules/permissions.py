"""Who may see, and who may change, what things cost."""

from commerce_core.plugin import PluginPermission

READ, MANAGE = "pricing:read", "pricing:manage"
PERMISSIONS = (
    PluginPermission(name=READ, description="See price rules, coupons, price lists, and what comes of them."),
    PluginPermission(name=MANAGE, description="Change price rules, coupons and price lists."),
)
