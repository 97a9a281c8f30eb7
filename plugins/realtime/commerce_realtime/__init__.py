"""Stock and orders as they change, pushed to browsers. `commerce realtime` is the server; see the README."""

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="realtime",
    hooks="commerce_realtime.hooks",
    settings="commerce_realtime.settings:Settings",
    hookspecs="commerce_realtime.hookspecs",
    capabilities=("realtime.pusher",),
    static="static",
)
