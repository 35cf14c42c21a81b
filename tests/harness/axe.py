"""axe-core in a page: what people with a keyboard, a screen reader or weak eyes cannot use in it (WCAG 2.2 AA)."""

from __future__ import annotations

from pathlib import Path

from harness import npm
from harness.chromium import sync_api

RUN = """async (only) => {
  const options = { resultTypes: ["violations"], preload: false };
  if (only.length) options.runOnly = { type: "rule", values: only };
  const alike = ["tbody tr:nth-child(n+13)", ".grid > :nth-child(n+13)", ".stack > :nth-child(n+13)"];
  const found = await axe.run({ exclude: alike.map((each) => [each]) }, options);
  return found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) =>
    `${each.impact} ${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map((node) => node.target.join(" ")
      + " " + (node.any[0] ? node.any[0].message : "")).join(" | ")}`);
}"""
"""Of a long list the first dozen: what follows is like it."""

COLOURS = ("color-contrast", "link-in-text-block")
"""The rules whose answer depends on light and dark."""


def script() -> Path:
    """The file of axe-core. Skips where it cannot be installed."""
    return npm.installed("axe-core") / "axe-core" / "axe.min.js"


def violations(page: sync_api.Page, *rules: str) -> list[str]:
    """What is seriously or critically wrong with a page as it stands; by some rules only, if they are named."""
    if not page.evaluate("() => typeof axe === 'object'"):
        page.evaluate(f"() => {{ {script().read_text(encoding='utf-8')}\n }}")
    found: list[str] = page.evaluate(RUN, list(rules))
    return found
