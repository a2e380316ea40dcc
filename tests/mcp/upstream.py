"""An HTTPS server that says whether a request had the right key: `upstream.py CERTIFICATE KEY SECRET`. Prints its port."""

import http.server
import ssl
import sys

certificate, key, secret = sys.argv[1:]


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers.get("Authorization") == "Bearer " + secret
        body = b"known" if good else b"unknown"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
around = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
around.load_cert_chain(certificate, key)
server.socket = around.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
