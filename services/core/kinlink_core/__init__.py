"""What all services share: the encoding, the wire, the errors and the runtime. No entry point."""
