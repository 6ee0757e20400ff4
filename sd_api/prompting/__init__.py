"""The prompt language: from the text of a prompt to plain data. Knows neither models nor HTTP; see docs/prompts.md."""
