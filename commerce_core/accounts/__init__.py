"""Users, tokens, roles; how people get an account, sign in, and leave."""

from __future__ import annotations

from pyramid.config import Configurator

from commerce_core.api import API_PREFIX


def includeme(config: Configurator) -> None:
    # Not above: the api imports this package for its permissions, and passwords import the api.
    from commerce_core.accounts.passwords import Passwords

    config.registry.passwords = Passwords(config.registry.settings_object.accounts)
    config.include(".policy")
    config.include(".jobs")
    config.add_route("register", f"{API_PREFIX}/auth/register")
    config.add_route("register_confirm", f"{API_PREFIX}/auth/register/confirm")
    config.add_route("login", f"{API_PREFIX}/auth/login")
    config.add_route("logout", f"{API_PREFIX}/auth/logout")
    config.add_route("logout_all", f"{API_PREFIX}/auth/logout-all")
    config.add_route("password_reset", f"{API_PREFIX}/auth/password-reset")
    config.add_route("password_reset_confirm", f"{API_PREFIX}/auth/password-reset/confirm")
    config.add_route("me", f"{API_PREFIX}/auth/me")
    config.add_route("me_delete", f"{API_PREFIX}/auth/me/delete")
    config.add_route("password", f"{API_PREFIX}/auth/password")
    config.add_route("email", f"{API_PREFIX}/auth/email")
    config.add_route("email_confirm", f"{API_PREFIX}/auth/email/confirm")
    config.add_route("tokens", f"{API_PREFIX}/auth/tokens")
    config.add_route("token", f"{API_PREFIX}/auth/tokens/{{id}}")
    config.add_route("admin_users", f"{API_PREFIX}/admin/users")
    config.add_route("admin_user", f"{API_PREFIX}/admin/users/{{id}}")
    config.add_route("admin_user_logout_all", f"{API_PREFIX}/admin/users/{{id}}/logout-all")
    config.scan(".views")
    config.scan(".profile_views")
    config.scan(".admin_views")
