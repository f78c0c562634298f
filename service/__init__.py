"""Frontends, supervisor and operations port of `altclip-server`. No torch; may import `altclip.v1` and the torch-free parts of `worker`."""
