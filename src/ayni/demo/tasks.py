"""The two requests of the demo: an array with a task to a language, and the task that gathers."""

from __future__ import annotations

from typing import Any

from ayni.demo.alliance import PROJECT

# $AYNI_ROOT is empty in a sandbox, where absolute paths work, and the task's folder where none can be had.
PROFILE: dict[str, Any] = {
    "name": "perfil {{language}}",
    "description": "Character n-grams of one language, counted where its text is.",
    "inputs": [
        {"url": "{{text}}", "path": "/data/text.txt"},
        {"url": f"ayni://{PROJECT}/code/profile.py", "path": "/code/profile.py"},
    ],
    "outputs": [
        {"url": f"ayni://{PROJECT}/profiles/{{{{language}}}}.json", "path": "/out/profile.json"}
    ],
    "executors": [
        {
            "image": "python",
            "command": [
                "sh",
                "-c",
                'exec python3 "$AYNI_ROOT/code/profile.py" "$AYNI_ROOT/data/text.txt" '
                '"$AYNI_ROOT/out/profile.json" "$AYNI_PARAM_language"',
            ],
        }
    ],
    "resources": {
        "cpu_cores": 1,
        "ram_gb": 0.25,
        "backend_parameters": {"walltime": "5m", "max_attempts": "5"},
    },
}

GATHER: dict[str, Any] = {
    "name": "atlas",
    "description": "Who resembles whom: gathers the released profiles and draws the family picture.",
    "inputs": [
        {"url": f"ayni://{PROJECT}/profiles/", "path": "/profiles", "type": "DIRECTORY"},
        {"url": f"ayni://{PROJECT}/code/languages.json", "path": "/data/languages.json"},
    ],
    "outputs": [
        {"url": f"ayni://{PROJECT}/atlas/{name}", "path": f"/work/{name}"}
        for name in ("atlas.svg", "atlas.png", "atlas.json")
    ],
    "executors": [
        {
            "image": "python",
            "command": [
                "sh",
                "-c",
                'exec python3 -m ayni.demo.atlas.gather "$AYNI_ROOT/profiles" '
                '"$AYNI_ROOT/data/languages.json" "$AYNI_ROOT/work"',
            ],
        }
    ],
    # An hour and a half: more than Bogotá's policy takes, so that a refusal is seen.
    "resources": {
        "cpu_cores": 1,
        "ram_gb": 1.0,
        "backend_parameters": {"walltime": "1h30m", "max_attempts": "5"},
    },
}
