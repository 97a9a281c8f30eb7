"""What keeps a shop from starting is said all at once: which plugin, where, and how to mend it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commerce_core.application import check_plugins
from commerce_core.plugins.context import Context
from commerce_core.plugins.host import PluginHost
from commerce_core.plugins.mistakes import BrokenPlugins
from commerce_core.settings import SettingsError, load_settings
from commerce_core.testing import make_settings

Install = Callable[..., Path]
Ini = Callable[..., Path]
Log = list[Any]
HOOK = """
    @hookimpl
    def commerce_validate_cart(ctx, cart, stage):
        return []
"""


def check(*plugins: str, optional: str = "", **given: str) -> PluginHost:
    """Put a shop with these plugins together. `loyalty__key` is the setting `loyalty.key`."""
    settings = {name.replace("__", "."): value for name, value in given.items()}
    enabled = {"commerce.plugins": "\n".join(plugins), "commerce.optional_plugins": optional}
    return check_plugins(make_settings("postgresql://not-needed", {**enabled, **settings}))


def mistake(*plugins: str, **given: str) -> str:
    """The only one that there is, with paths as they are from the folder of packages."""
    with pytest.raises(BrokenPlugins) as caught:
        check(*plugins, **given)
    [found] = caught.value.mistakes
    return str(found)


@pytest.fixture
def ini(tmp_path: Path) -> Ini:
    def write(**keys: str) -> Path:
        path = tmp_path / "shop.ini"
        lines = [f"{name.replace('__', '.')} = {value}" for name, value in keys.items()]
        path.write_text(
            "[app:main]\nuse = egg:commerce-core\ncommerce.environment = development\n"
            "sqlalchemy.url = postgresql://not-needed\n" + "\n".join(lines) + "\n"
        )
        return path

    return write


def test_every_kind_of_mistake_in_one_run_gives_a_message_for_each(install: Install, ini: Ini) -> None:
    install("typo", HOOK.replace("cart(", "crat("))
    install("bare", HOOK.replace("@hookimpl", ""))
    install("asynchronous", HOOK.replace("def", "async def"))
    install("argument", HOOK.replace("stage", "stages"))
    settings = "class Settings(Section):\n    points: int = 1\n"
    install("unset", settings, declares="settings='made_unset.hooks:Settings'")
    install("needy", declares="requires=('rewards',)")
    install(
        "tables",
        declares="models='made_tables.models'",
        models="""
        from sqlalchemy import Column, Integer, Table
        from commerce_core.database import Base

        gifts = Table("gifts", Base.metadata, Column("id", Integer, primary_key=True))
        """,
    )
    route = """
    @hookimpl
    def commerce_includeme(config):
        config.add_route("points", "/points")
    """
    install("first", route)
    install("second", route)
    install("crash", "import sys\n\nlist(map(int, ['x']))\n")
    names = "typo bare asynchronous argument unset needy tables first second crash"
    path = ini(commerce__plugins=names, unset__point="3")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "commerce_core.cli", "web", str(path), "--port", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=path.parent / "site-packages",
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stderr.splitlines() == [
        "Error: The plugins have problems, so the shop does not start:",
        "  - typo: made_typo/hooks.py:3: there is no hook commerce_validate_crat; did you mean commerce_validate_cart?",
        "  - bare: made_bare/hooks.py:4: commerce_validate_cart is never called: put @hookimpl above it",
        "  - asynchronous: made_asynchronous/hooks.py:3: commerce_validate_cart is async, and nobody would await it:"
        " make it a plain function",
        "  - argument: made_argument/hooks.py:3: commerce_validate_cart takes an argument 'stages', which"
        " commerce_validate_cart has not; did you mean stage?",
        f"  - unset: {path}:6: unset.point: unknown setting, did you mean unset.points?",
        "  - needy: made_needy/__init__.py:4: needs the plugin rewards: list it above needy in commerce.plugins, once"
        " it is installed (rewards is not)",
        "  - tables: made_tables/models.py:6: the table gifts should be called tables_gifts: a plugin's tables begin"
        " with its name",
        "  - second: made_second/hooks.py:5: configures what is configured already, as first does:"
        ' made_first/hooks.py:5 (config.add_route("points", "/points")) and'
        ' made_second/hooks.py:5 (config.add_route("points", "/points")); give one of them another name',
        "  - crash: made_crash/hooks.py:4: importing made_crash.hooks (hooks) raised ValueError: invalid literal for"
        " int() with base 10: 'x'",
    ]


def test_what_is_not_listed_is_not_imported(install: Install) -> None:
    install("broken", init="raise RuntimeError('imported')")
    check("loyalty")
    assert "made_broken" not in sys.modules


def test_plugins_are_asked_in_the_order_of_the_list(install: Install) -> None:
    for name in ("aa", "bb", "cc"):
        install(name, HOOK)
    for order in (["aa", "bb", "cc"], ["cc", "aa", "bb"]):
        hook = check(*order).hook("commerce_validate_cart")
        assert [implementation.plugin for implementation in hook.implementations] == order


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("loyality", "loyality: is listed in commerce.plugins and not installed; did you mean loyalty?"),
        ("loyalty loyalty", "loyalty: is listed twice in commerce.plugins"),
    ],
)
def test_a_list_that_cannot_be_meant_so_is_said(listed: str, told: str) -> None:
    assert mistake(listed) == told


def test_a_requirement_that_comes_too_late_says_which_line_to_move(install: Install) -> None:
    install("base")
    install("above", declares="requires=('base',)")
    install("aside", declares="after=('base', 'nowhere')")
    check("base", "above", "aside")
    check("aside")
    assert "move the line above below base in commerce.plugins" in mistake("above", "base")
    assert "move the line aside below base in commerce.plugins" in mistake("aside", "base")


@pytest.mark.parametrize(
    ("declares", "told"),
    [
        ("api=2", "is made for generation 2 of the hooks, and this version of commerce-core has 1"),
        ("settings='made_x'", "settings should be written as package.module:Class"),
        ("requires='base'", "requires should be a tuple of names"),
        ("static='files'", "there is no folder"),
        (
            "settings='made_x.hooks:Settings'",
            "should be a class of settings, a subclass of commerce_core.plugin.Section",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_said(install: Install, declares: str, told: str) -> None:
    install("xx", declares=declares.replace("made_x", "made_xx"))
    found = mistake("xx")
    assert found.startswith("xx: ")
    assert "made_xx/__init__.py:4" in found or "made_xx/hooks.py" in found
    assert told in found


@pytest.mark.parametrize("name", ["stock", "order", "jobs", "webhook", "admin", "pyramid"])
def test_a_name_of_the_core_is_taken(install: Install, name: str) -> None:
    install(name)
    with pytest.raises((BrokenPlugins, SettingsError), match="call the plugin something else"):
        check(name)


@pytest.mark.parametrize("option", ["tryfirst=True", "trylast=True", "wrapper=True", "hookwrapper=True"])
def test_a_plugin_may_not_choose_its_place(install: Install, option: str) -> None:
    install("pushy", HOOK.replace("@hookimpl", f"@hookimpl({option})").replace("return []", "yield"))
    assert "which is refused: the order of plugins is that of commerce.plugins" in mistake("pushy")


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        ("raise OSError('gone')", "commerce_register_jobs raised OSError: gone"),
        ("return [1]", "returned 1, where JobKind or Periodic or Watched is expected"),
        ("return [job('other.work')(lambda context: None)]", "the job 'other.work' should be called odd.other.work"),
    ],
)
def test_what_a_startup_hook_does_wrong_is_said(install: Install, hooks: str, told: str) -> None:
    install(
        "odd", f"from commerce_core.jobs.kinds import job\n\n@hookimpl\ndef commerce_register_jobs():\n    {hooks}\n"
    )
    found = mistake("odd")
    assert told in found
    assert "made_odd/hooks.py:" in found


def test_two_things_of_one_name_are_said(install: Install) -> None:
    finder = """
    class Finder:
        code = "loyalty-finder"

    @hookimpl
    def commerce_register_search_backends():
        return [Finder()]
    """
    assert "two search backends are called 'loyalty-finder'" in mistake("loyalty", _copy(install, finder))


def test_a_price_rule_of_the_cores_name_is_said(install: Install) -> None:
    rules = """
    from commerce_core.pricing.core_rules import CATALOGUE_PRICE

    @hookimpl
    def commerce_register_price_rules():
        return [CATALOGUE_PRICE]
    """
    assert "two price rules are called 'catalogue-price', of core and of copy" in mistake(_copy(install, rules))


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ('config.add_route("orders", "/orders")', "the core has a route 'orders', too; call yours copy_orders"),
        (
            'config.add_root_route("copy_feed", "/api/v1/orders")',
            "the route 'copy_feed' is never reached: 'orders' has the address /api/v1/orders, too",
        ),
    ],
)
def test_no_plugin_takes_a_route_of_the_core_away(install: Install, route: str, told: str) -> None:
    found = mistake(_copy(install, f"@hookimpl\ndef commerce_includeme(config):\n    {route}\n"))
    assert told in found
    assert "made_copy/hooks.py:4" in found


def test_a_view_needs_a_permission_that_there_is(install: Install) -> None:
    view = """
    from commerce_core.api.endpoints import api_view

    @hookimpl
    def commerce_includeme(config):
        config.add_route("copy_thing", "/thing")
        config.scan("made_copy.hooks")

    @api_view(route_name="copy_thing", request_method="GET", permission="order:reed-all", status=204)
    def thing(request):
        pass
    """
    found = mistake(_copy(install, view))
    assert "made_copy/hooks.py:10" in found
    assert "there is no permission 'order:reed-all', did you mean order:read-all?" in found


def test_an_argument_with_a_default_is_given_all_the_same(install: Install) -> None:
    install("dflt", HOOK.replace("stage", "stage='other'").replace("[]", "[stage]"))
    hook = check("dflt").hook("commerce_validate_cart")
    assert [part for _, part in hook.collect(Context(None), cart=None, stage="edit")] == ["edit"]  # type: ignore[arg-type]


def test_a_problem_is_called_after_its_plugin(install: Install) -> None:
    name = _copy(
        install, "from commerce_core.api.problems import Problem\n\nclass TooOld(Problem):\n    slug = 'too-old'\n"
    )
    assert "the problem TooOld should have a slug such as copy/too-old" in mistake(name)


def test_settings_of_plugins_are_typed_and_the_environment_and_files_count(
    install: Install, ini: Ini, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text("a-key-of-some-length\n")
    path = ini(commerce__plugins="loyalty", loyalty__units_per_point="50", loyalty__key_file=str(secret))
    host = check_plugins(load_settings(path, environ={"COMMERCE_LOYALTY__UNITS_PER_POINT": "20"}))
    own = host.settings_of("loyalty")
    assert (own.units_per_point, own.key.get_secret_value()) == (20, "a-key-of-some-length")
    assert "a-key" not in repr(own)


def test_every_wrong_setting_of_a_plugin_is_said_with_its_line(ini: Ini) -> None:
    path = ini(commerce__plugins="loyalty", loyalty__units_per_point="none", loyalty__healthy="perhaps")
    with pytest.raises(BrokenPlugins) as caught:
        check_plugins(load_settings(path, environ={"COMMERCE_LOYALTY__HOLD_MINUTES": "x"}))
    assert [(each.where or "").rpartition(":")[2] for each in caught.value.mistakes] == [
        "6",
        "COMMERCE_LOYALTY__HOLD_MINUTES",
        "7",
    ]


def test_production_refuses_placeholder_secrets_of_plugins() -> None:
    production = {
        "commerce__environment": "production",
        "payments__manual_webhook_secret": "x1" * 16,
        "mail__transport": "smtp",
        "mail__host": "localhost",
        "mail__sender": "a@b",
    }
    assert "loyalty.key: is a placeholder or too short" in mistake("loyalty", loyalty__key="changeme", **production)


def test_settings_of_a_plugin_that_is_not_listed_are_ignored_and_said_once(logged: Log) -> None:
    check(loyalty__units_per_point="none at all")
    assert [(line["log_level"], line["plugins"]) for line in logged] == [("info", ["loyalty"])]


def test_settings_that_are_nobodys_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"loyalti\.key: unknown setting, did you mean loyalty\.key\?"):
        check("loyalty", loyalti__key="x")


def test_a_shop_may_start_without_an_optional_plugin(install: Install, logged: Log) -> None:
    install("gone", "raise RuntimeError('gone')")
    install("late", HOOK + "\n    @hookimpl\n    def commerce_register_jobs():\n        raise RuntimeError('late')\n")
    host = check("loyalty", "gone", "late", optional="gone late")
    assert [plugin.name for plugin in host.plugins] == ["loyalty"]
    assert {line["plugin"] for line in logged if line["event"] == "optional plugin not loaded"} == {"gone", "late"}
    # It was asked for its hooks before it failed: nothing of it is left.
    assert {each.plugin for each in host.hook("commerce_validate_cart").implementations} == {"loyalty"}
    with pytest.raises(BrokenPlugins, match="commerce_register_jobs raised RuntimeError: late"):
        check("loyalty", "gone", "late", optional="gone")


def test_nothing_stands_on_an_optional_plugin_that_is_not_there(install: Install) -> None:
    install("gone", "raise RuntimeError('gone')")
    install("above", declares="requires=('gone',)")
    assert mistake("gone", "above", commerce__optional_plugins="gone") == (
        "above: needs the plugin gone, which is optional and cannot be loaded"
    )


def test_a_plugin_may_have_hooks_for_others(install: Install) -> None:
    install(
        "bonus", "@hookimpl\ndef loyalty_earning(points):\n    return points + 1\n", declares="requires=('loyalty',)"
    )
    assert [each.plugin for each in check("loyalty", "bonus").hook("loyalty_earning").implementations] == ["bonus"]
    # What is wrong with the one is told, and nothing of the other.
    assert mistake("loyalty", "bonus", loyalty__units_per_point="0").startswith("loyalty: ")
    install("wrong", "@hookimpl\ndef loyalty_earnings(points):\n    return points\n")
    assert "did you mean loyalty_earning?" in mistake("loyalty", "wrong")


def _copy(install: Install, hooks: str) -> str:
    install("copy", hooks)
    return "copy"
