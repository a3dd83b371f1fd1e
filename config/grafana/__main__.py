"""``python -m config.grafana``: write the dashboards."""

from __future__ import annotations

from config.grafana import dashboards
from config.settings import CHECKOUT

FOLDER = CHECKOUT / "dashboards" / "grafana"


def main() -> None:
    """Write each file anew; remove those that nothing makes any more."""
    FOLDER.mkdir(exist_ok=True)
    made = {f"{dashboard.name}.json": dashboard.text() for dashboard in dashboards()}
    for old in FOLDER.glob("*.json"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text)
        print(f"dashboards/grafana/{name}")


if __name__ == "__main__":
    main()
