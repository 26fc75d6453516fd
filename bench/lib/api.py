"""A client of the daemon's API (docs/API.md)."""
import json
import socket
import time


class Api:
    def __init__(self, path):
        end = time.monotonic() + 10
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.file = self.socket.makefile("r")
        self.file.readline()  # the greeting

    def call(self, command, /, **arguments):
        return self.call_all((command, arguments))[0]

    def call_all(self, *requests):
        """All in one message, so that the daemon does nothing in between: pairs of command and arguments. Returns what they return."""
        lines = [json.dumps({"execute": command, "arguments": arguments, "id": i}) for i, (command, arguments) in enumerate(requests)]
        self.socket.sendall("".join(line + "\n" for line in lines).encode())
        answers = {}
        while len(answers) < len(requests):
            line = self.file.readline()
            if not line:
                raise RuntimeError(f"{requests[0][0]}: the daemon has hung up")
            answer = json.loads(line)
            answers[answer["id"]] = answer
        for i, (command, _) in enumerate(requests):
            if "error" in answers[i]:
                raise RuntimeError(f"{command}: {answers[i]['error']['desc']}")
        return [answers[i]["return"] for i in range(len(requests))]

    def close(self):
        self.file.close()
        self.socket.close()
