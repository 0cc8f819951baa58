"""The server: an HTTP interface over a store, and the page that reads it."""
