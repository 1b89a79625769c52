"""What every Kinlink process shares: configuration, TLS, servers, channels, health, logs."""
