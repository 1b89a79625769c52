"""Attacks on what a curious or lying linker really holds; see README.md beside this file."""
