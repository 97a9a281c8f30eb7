# `commerce serve development.ini`: a shop with this plugin, with no service to install.

[app:main]
use = egg:commerce-core

commerce.environment = development
commerce.plugins = ${name}
% if "payment" in parts:
${name}.webhook_secret = development-webhook-secret
% endif

sqlalchemy.url = embedded:///%(here)s/var/postgres
payments.manual_webhook_secret = development-webhook-secret
limits.exempt = 127.0.0.0/8, ::1
log.format = console
