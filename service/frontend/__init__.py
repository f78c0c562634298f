"""The process that answers calls: transports over one core.

Never imports service.supervisor.
"""
