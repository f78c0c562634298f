"""Frontends, supervisor and operations port of `altclip-server`.

No torch. May import `altclip.v1` and what of `worker` needs no torch.
"""
