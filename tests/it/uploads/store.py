"""An S3-compatible store in memory, for tests: prints its port, and ends with its standard input."""

import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    # Connections are kept, as real stores keep them.
    protocol_version = "HTTP/1.1"

    def log_request(self, *args):
        pass


def end_with_input():
    sys.stdin.read()
    os._exit(0)


server = make_server(
    "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Handler
)
print(server.server_port, flush=True)
threading.Thread(target=end_with_input, daemon=True).start()
server.serve_forever()
