"""The dialect of OpenAI's images API, for programs that speak to any server that is compatible with it."""
