"""Choosing passes before there is a federation: what offices measure, and what it is written in."""
