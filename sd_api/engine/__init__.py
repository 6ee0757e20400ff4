"""Turns a request into pictures; the only room that runs a pipeline."""
