"""OpenAI's batch files through the service's HTTP port: `altclip bulk openai`.

Of altclip it may import bulk, channel, datasets, errors, output and printing.
"""
