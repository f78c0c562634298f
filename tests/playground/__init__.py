"""The playground in a real browser, against a real server. Chromium is the system's (`make tools`)."""
