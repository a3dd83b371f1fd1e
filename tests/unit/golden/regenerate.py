"""Renew the golden files: ``python -m tests.unit.golden.regenerate``; read the difference afterwards."""

from __future__ import annotations

import json

from tests.unit.golden.github_payloads import GOLDEN, golden_of, pairs


def main() -> None:
    """Write one golden file for each payload and remove those without one."""
    kept = {golden.name for _, golden in pairs()}
    if not kept:
        raise SystemExit("No payloads are at hand, so that nothing was changed.")
    for payload, golden in pairs():
        text = json.dumps(golden_of(payload), indent=1, ensure_ascii=False, sort_keys=True)
        golden.write_text(text + "\n", encoding="utf-8")
    for stale in GOLDEN.glob("*.json"):
        if stale.name not in kept:
            stale.unlink()
    print(f"{len(kept)} golden files in {GOLDEN.name}/")


if __name__ == "__main__":
    main()
