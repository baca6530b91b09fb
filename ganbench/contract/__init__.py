"""What a plugin must be, the nouns of the border to the harness; may import `files`, `seeds` and `errors`."""
