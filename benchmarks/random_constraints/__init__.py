"""Random schemas, regular expressions and grammars, asked of a server at temperature 1, and every answer checked."""
