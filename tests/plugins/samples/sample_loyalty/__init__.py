"""Points for what is bought: a plugin that has a bit of everything."""

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="loyalty",
    hooks="sample_loyalty.hooks",
    settings="sample_loyalty.settings:Settings",
    hookspecs="sample_loyalty.hookspecs",
    capabilities=("loyalty.points",),
    mail_templates="mail",
    static="static",
)
