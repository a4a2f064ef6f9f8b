"""Short texts with facts in them, and the schema of what to take out of each."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema

NAMES = ("Maria Keller", "Tomás Rivera", "Aiko Tanaka", "Samuel Okoye", "Ingrid Larsen", "Pavel Novák", "Leila Haddad")
CITIES = ("Graz", "Porto", "Kyoto", "Lagos", "Bergen", "Brno", "Beirut")
JOBS = ("baker", "nurse", "pilot", "teacher", "carpenter", "biologist", "librarian")
LANGUAGES = ("German", "Portuguese", "Japanese", "English", "Norwegian", "Czech", "Arabic")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "full_name": {"type": "string", "maxLength": 40},
        "age_in_years": {"type": "integer", "minimum": 0, "maximum": 120},
        "city_of_residence": {"type": "string", "maxLength": 40},
        "occupation": {"type": "string", "maxLength": 40},
        "languages_spoken": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
        "has_driving_licence": {"type": "boolean"},
    },
    "required": [
        "full_name",
        "age_in_years",
        "city_of_residence",
        "occupation",
        "languages_spoken",
        "has_driving_licence",
    ],
    "additionalProperties": False,
}

EXAMPLE = {
    "full_name": "Ruth Abel",
    "age_in_years": 51,
    "city_of_residence": "Ghent",
    "occupation": "tailor",
    "languages_spoken": ["Dutch"],
    "has_driving_licence": True,
}


def prompts(count: int, name: str) -> list[str]:
    """An example and a text each; those of another `name` are about others."""
    draw = random.Random(name)
    return [_prompt(draw) for _ in range(count)]


def _prompt(draw: random.Random) -> str:
    licence = draw.choice(("holds", "does not hold"))
    text = (
        f"{draw.choice(NAMES)}, who turned {draw.randint(19, 80)} this year, works as a {draw.choice(JOBS)} in "
        f"{draw.choice(CITIES)}, speaks {draw.choice(LANGUAGES)} and {draw.choice(LANGUAGES)} and {licence} a licence."
    )
    example = "Ruth Abel, 51, is a tailor in Ghent. She speaks Dutch and drives her own van."
    return f"Text: {example}\nFacts: {json.dumps(EXAMPLE)}\n\nText: {text}\nFacts: "


def is_valid(answer: str) -> bool:
    """Whether this is a JSON value as SCHEMA asks for."""
    try:
        jsonschema.validate(json.loads(answer), SCHEMA)
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True
