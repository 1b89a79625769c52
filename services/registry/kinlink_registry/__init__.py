"""One office's registry node: its vault, what it answers the linker, its command line."""
