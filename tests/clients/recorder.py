"""Passes connections on to another port of this machine, and appends every byte that goes there to a file.

With a certificate it speaks TLS and answers itself: what a script sends when no proxy stands in its way.
"""

import json
import socket
import ssl
import sys
import threading

own, target, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lock = threading.Lock()


def note(data):
    with lock, open(path, "ab") as file:
        file.write(data)


def pump(source, sink, is_noted):
    while data := source.recv(65536):
        if is_noted:
            note(data)
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)


def relay(caller):
    server = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=pump, args=(server, caller, False), daemon=True).start()
    pump(caller, server, True)


def answer(caller):
    # The body may come after the head.
    caller.settimeout(1)
    try:
        while data := caller.recv(65536):
            note(data)
    except TimeoutError:
        pass
    body = json.dumps({"error": "unavailable"}).encode()
    caller.sendall(b"HTTP/1.1 503 Unavailable\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    caller.close()


def serve(caller):
    try:
        answer(context.wrap_socket(caller, server_side=True)) if context else relay(caller)
    except OSError:
        pass


context = None
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4])
listener = socket.create_server(("127.0.0.1", own), backlog=64)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
