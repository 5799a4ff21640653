"""An S3-compatible store in memory, for tests: prints its port, and ends with its standard input."""

import io
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Lines:
    """Reads a connection, and knows whether it ended where a line was wanted."""

    def __init__(self, connection):
        self.connection = connection
        self.has_ended = False

    def readline(self, *args):
        line = self.connection.readline(*args)
        self.has_ended |= not line.endswith(b"\n")
        return line

    def __getattr__(self, name):
        return getattr(self.connection, name)


class Handler(WSGIRequestHandler):
    # Connections are kept, as real stores keep them.
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.rfile = Lines(self.rfile)

    def parse_request(self):
        # http.server takes half a head for a whole one: an upload would be begun without its metadata.
        if super().parse_request() and not self.rfile.has_ended:
            return True
        self.close_connection = True
        return False

    def log_request(self, *args):
        pass


def end_with_input():
    sys.stdin.read()
    os._exit(0)


store = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()


def one_at_a_time(environ, start_response):
    """What a real store does at once, moto does in steps: an object could be seen before it has its metadata."""
    wanted = int(environ.get("CONTENT_LENGTH") or 0)
    try:
        body = environ["wsgi.input"].read(wanted)
    except OSError:
        body = b""
    if len(body) < wanted:
        refusal = b"<Error><Code>IncompleteBody</Code><Message>The body is too short</Message></Error>"
        start_response("400 Bad Request", [("Content-Length", str(len(refusal))), ("Connection", "close")])
        return [refusal]
    environ["wsgi.input"] = io.BytesIO(body)
    with lock:
        return list(store(environ, start_response))


server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=Handler)
print(server.server_port, flush=True)
threading.Thread(target=end_with_input, daemon=True).start()
server.serve_forever()
