"""The figures as a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import vl_convert


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """How many times shorter than data-parallel, and utilisation, by link, schedule and way."""
    colour = {"field": "way", "type": "nominal", "title": None, "legend": {"orient": "top"},
              "scale": {"range": ["#b7791f", "#1f6f78"]}}  # fmt: skip
    side = {"field": "schedule", "type": "nominal", "title": None, "axis": {"labelLimit": 260}}

    def bars(field: str, title: str, wanted: float, axis: dict[str, Any]) -> dict[str, Any]:
        common = {"y": side, "yOffset": {"field": "way"}}
        return {
            "width": 330,
            "height": 130,
            "layer": [
                {
                    "mark": "bar",
                    "encoding": {
                        **common, "color": colour,
                        "x": {"field": field, "type": "quantitative", "title": title, "axis": axis},
                    },
                },
                {
                    "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#444"},
                    "encoding": {"x": {"datum": wanted}},
                },
            ],
        }  # fmt: skip

    links = dict.fromkeys(row["link"] for row in rows)
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": "white",
        "vconcat": [
            {
                "title": link,
                "data": {"values": [row for row in rows if row["link"] == link]},
                "hconcat": [
                    bars("faster", "times shorter than data-parallel", 50, {}),
                    bars("utilisation", "utilisation", 0.95, {"format": "%"}),
                ],
            }
            for link in links
        ],
    }
    path.write_text(str(vl_convert.vegalite_to_svg(json.dumps(spec))) + "\n", encoding="utf-8")
