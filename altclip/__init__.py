"""What a client of the AltCLIP service installs: generated stubs, a sync and an async client, a command line. No torch."""
