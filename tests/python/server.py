"""A server as its users see it over HTTP."""

import json
import urllib.error
import urllib.request


class Server:
    """SQL, traces and flushes of one server."""

    def __init__(self, api):
        self.api = api

    def _request(self, path, body=None, accept="application/json", method=None):
        headers = {"accept": accept, "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise RuntimeError(f"{error.code} from {path} {body or ''}: {text}") from error

    def ready(self):
        """Whether the server takes requests."""
        try:
            self._request("/ready")
            return True
        except (OSError, RuntimeError):
            return False

    def rows(self, query):
        """The rows of a SQL query as dicts."""
        return json.loads(self._request("/api/v1/sql", {"query": query}))

    def count(self, query):
        """The only value of a query's only row."""
        (row,) = self.rows(query)
        (value,) = row.values()
        return value

    def flush(self):
        """Writes what is in memory to blocks."""
        self._request("/admin/flush", method="POST")

    def trace(self, trace_id, accept):
        """A trace in OTLP, as bytes."""
        return self._request(f"/api/traces/{trace_id}", accept=accept)
