"""A child process that does what the test's environment says. Started as `python -P -m` this module."""

from __future__ import annotations

import os
import sys
import time

from worker.runtime.control import adopt, leave

if __name__ == "__main__":
    channel = adopt(int(sys.argv[1]), "altclip-test")
    match os.environ["PLAY"]:
        case "last words":
            channel.send("failed", {"reason": "because"})
            leave(3)
        case "garbage":
            os.write(int(sys.argv[1]), b'{"type":"failed", "reason')
            channel.send("failed", {"reason": "because"})
            leave(3)
        case "echo":
            while (message := channel.receive()) is not None:
                channel.send("heard", {"type_": message.type, "descriptors": len(message.descriptors)})
        case "deaf":
            channel.send("ready")
            time.sleep(300)
        case "mute":
            channel.close()
            time.sleep(300)
