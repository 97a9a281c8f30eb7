"""${title}: say here what it is for."""

from commerce_core.plugin import Plugin

plugin = Plugin(
    name="${name}",
    hooks="commerce_${name}.hooks",
% if has_settings:
    settings="commerce_${name}.settings:Settings",
% endif
% if "models" in parts:
    models="commerce_${name}.models",
    migrations="commerce_${name}.migrations",
% endif
)
