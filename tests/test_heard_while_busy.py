"""A widget hears its browser while a cell computes: a real kernel, and a client in the browser's place."""

import pytest
from jupyter_client import KernelManager

MAKE = """
import threading, time, traitlets
from course_lib.classroom.widgets import HeardWhileBusy

class Racer(HeardWhileBusy, source="training_panel"):
    said = traitlets.Unicode().tag(sync=True)

    def describe(self):
        return "a racer"

racer, stop = Racer(), threading.Event()
racer.on_msg(lambda widget, content, buffers: stop.set())

session = get_ipython().kernel.session
send = session.send
def slow_send(*args, **kwargs):  # what the browser answers arrives before the cell has come back from telling it
    sent = send(*args, **kwargs)
    time.sleep(0.05)
    return sent
session.send = slow_send

print(racer.comm.comm_id)
"""
COMPUTE = """
end = time.monotonic() + 3
while not stop.is_set() and time.monotonic() < end:
    racer.said = str(time.monotonic())
print("heard" if stop.is_set() else "not heard")
"""


@pytest.fixture
def client():
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, on_message=lambda message: None) -> str:
    """Run a cell and return what it printed; `on_message` gets each message to the browser."""
    printed = []

    def take(message):
        on_message(message)
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=60, output_hook=take, stop_on_error=False)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed).strip()


def test_stop_is_heard_in_the_midst_of_a_message_to_the_browser(client):
    comm_id = run(client, MAKE)
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    subshell = client.get_control_msg(timeout=30)["content"]["subshell_id"]
    pressed = []

    def press_stop(message):
        if message["msg_type"] == "comm_msg" and not pressed:
            told = client.session.msg("comm_msg", {"comm_id": comm_id, "data": {"method": "custom", "content": "stop"}})
            told["header"]["subshell_id"] = subshell  # as JupyterLab does
            client.shell_channel.send(told)
            pressed.append(True)

    assert run(client, COMPUTE, press_stop) == "heard"
    assert pressed
