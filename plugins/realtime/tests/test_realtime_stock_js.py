"""stock.js by itself: its own tests, which are JavaScript, and its types."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from realtime_shop import NODE, NODE_FOLDER, node_modules

PATIENCE = 120


def test_stock_js_passes_its_own_tests() -> None:
    done = subprocess.run(
        [NODE, "--no-warnings", "--test", NODE_FOLDER / "stock.test.mjs"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail 0" in done.stdout
    assert "pass 0" not in done.stdout


def test_the_types_fit_how_it_is_used(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    tsc = node_modules(pytestconfig) / "node_modules" / "typescript" / "lib" / "tsc.js"
    types = Path(__file__).parents[1] / "commerce_realtime" / "static" / "stock.js"
    (tmp_path / "page.ts").write_text(
        f'import {{ Stock, type Level }} from "{types}";\n'
        """
const stock = new Stock({ storage: sessionStorage, minDelay: 500 });
const stop: () => void = stock.product("1", (level: Level, { reason, previous }) => {
  const left: number | null = level.stock_quantity;
  console.log(reason, left, previous?.version);
});
stock.addEventListener("state", ({ detail }) => console.log(detail.state === "waiting" ? detail.retryIn : ""));
stock.addEventListener("level", ({ detail }) => console.log(detail.level.sku, detail.reason));
stock.addEventListener("product", ({ detail }) => console.log(detail.product_id));
stock.catalogue(() => undefined)();
stock.looking("1", (count: number) => console.log(count));
stock.seed([...[stock.get("2")].filter((level) => level !== undefined)]);
stop();
stock.close();
// @ts-expect-error: there is no such option
new Stock({ sotrage: null });
// @ts-expect-error: nor such a state
if (stock.state === "offline") stop();
"""
    )
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler",
               "--skipDefaultLibCheck"]  # fmt: skip
    done = subprocess.run(
        [NODE, tsc, *options, "--lib", "es2022,dom", "page.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
