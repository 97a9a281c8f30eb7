"""A plugin that fails on demand: `mischief.hook` says where, `mischief.how` in which way."""

from commerce_core.plugin import Plugin

plugin = Plugin(name="mischief", hooks="sample_mischief.hooks", settings="sample_mischief.hooks:Settings")
