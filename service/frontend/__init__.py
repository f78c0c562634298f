"""The frontend process, which answers calls: transports over one core.

Never imports service.supervisor.
"""
