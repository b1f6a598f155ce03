"""Scripts, records and settings, from Python and over HTTP; starting, stopping and the command."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import httpx
import pytest
from raw_client import COPILOT_HEADERS, HELLO, WIRES, ask, connect, listen, request, send, wait_for

import gateway_core.testing
from gateway_core.testing import CopilotSimulator, OllamaSimulator, OpenAISimulator
from gateway_core.testing.simulators import DEFAULT_ANSWER, tokens_of
from gateway_core.testing.simulators.__main__ import main
from gateway_core.testing.simulators.script import LINES
from tests.missing import needs


def test_the_default_answer_has_sixty_different_words():
    words = [word.strip(" .,:").lower() for word in tokens_of(DEFAULT_ANSWER)]

    assert len(set(words)) == len(words) == 60


# --- the script


def test_one_fault_is_used_per_paid_call_and_then_the_rest_of_the_script(openai):
    openai.script("status_500", "status_502", then="status_503")

    statuses = [ask(openai).status for _ in range(4)]

    assert statuses == [500, 502, 503, 503]
    assert [call.fault for call in openai.calls] == ["status_500", "status_502", "status_503", "status_503"]


def test_calls_that_cost_nothing_leave_the_script_alone(copilot):
    copilot.script("status_500")

    assert request(copilot, "GET", "/models", **COPILOT_HEADERS).status == 200
    assert request(copilot, "GET", "/copilot_internal/user", **COPILOT_HEADERS).status == 200
    assert ask(copilot, "copilot", model="gpt-6-luna").status == 400  # wrong endpoint: refused, not paid
    assert ask(copilot, "copilot").status == 500


def test_a_new_script_replaces_the_old(openai):
    openai.script("status_500", "status_500", then="status_500")
    openai.script("status_501")

    assert [ask(openai).status for _ in range(2)] == [501, 200]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("cut_aftr:4", "cut_after"),
        ("status_9000", "unknown fault"),
        ("cut_after:many", "number"),
        ("insufficient_quotta", "insufficient_quota"),
    ],
)
def test_a_wrong_fault_is_refused_when_it_is_written(openai, wrong, hint):
    with pytest.raises(ValueError, match=hint):
        openai.script(wrong)
    with pytest.raises(ValueError, match=hint):
        openai.script(then=wrong)


def test_many_threads_use_each_fault_once(openai):
    openai.script(*["status_500"] * 10)

    with ThreadPoolExecutor(20) as pool:
        statuses = [heard.status for heard in pool.map(lambda n: ask(openai), range(20))]

    assert sorted(statuses) == [200] * 10 + [500] * 10
    assert [call.number for call in openai.calls] == list(range(1, 21))


# --- the record


def test_a_call_is_recorded_as_it_came_and_as_it_went(openai):
    before = time.time()
    ask(openai)

    openai.wait_idle()
    (call,) = openai.calls
    assert (call.path, call.method, call.outcome, call.fault) == ("/v1/chat/completions", "POST", "answered", "ok")
    assert (call.paid, call.status, call.tokens_sent, call.disconnected, call.connection) == (True, 200, 60, False, 1)
    assert call.headers["authorization"] == "Bearer sk-test"
    assert call.body["messages"] == HELLO
    assert before <= call.when <= (call.ended or 0) <= time.time()
    with pytest.raises(FrozenInstanceError):
        call.path = "/"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fault", "outcome", "tokens", "status"),
    [
        ("status_503", "error", 0, 503),
        ("cut_after:7", "cut", 7, 200),
        ("end_after:7", "cut", 7, 200),
        ("html_200", "cut", 0, 200),
        ("reset_after_request", "cut", 0, None),
    ],
)
def test_the_outcome_tells_what_the_caller_got(openai, fault, outcome, tokens, status):
    openai.script(fault)
    ask(openai)

    openai.wait_idle()
    call = openai.calls[0]
    assert (call.outcome, call.tokens_sent, call.status) == (outcome, tokens, status)


def test_a_client_that_hangs_up_stops_the_answer(openai):
    openai.token_delay = 0.02
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, {**body, "stream": True})
        sock.recv(100)

    openai.wait_idle()
    call = openai.calls[0]
    assert (call.outcome, call.disconnected) == ("disconnected", True)
    assert call.tokens_sent < 60


def test_a_client_that_hangs_up_before_the_first_byte_is_noticed(openai):
    openai.script("hang")
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, body)
        wait_for(lambda: openai.calls)

    openai.wait_idle()
    assert openai.calls[0].disconnected


def test_leaving_after_the_end_marker_is_not_hanging_up(openai):
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, {**body, "stream": True})
        received = b""
        while b"[DONE]" not in received:
            received += sock.recv(1 << 16)

    openai.wait_idle()
    assert openai.calls[0].outcome == "answered"


def test_a_slow_reader_is_waited_for(openai):
    openai.script("huge_body:30")
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, body)
        time.sleep(0.05)
        assert openai.calls[0].outcome == "running"
        while sock.recv(1 << 20)[-5:] != b"0\r\n\r\n":
            pass

    openai.wait_idle()
    assert not openai.calls[0].disconnected


def test_connections_are_numbered_so_that_reuse_shows(openai):
    with httpx.Client(headers={"authorization": "Bearer sk-x"}, trust_env=False) as client:
        client.get(f"{openai.base_url}/models")
        client.get(f"{openai.base_url}/models")
        openai.drop_connections()
        wait_for(lambda: not openai._connections)
        client.get(f"{openai.base_url}/models")

    assert [call.connection for call in openai.calls_to("/models")] == [1, 1, 2]


def test_reset_forgets_calls_and_script_and_restores_settings():
    with OpenAISimulator(answer="constructed") as openai:
        openai.answer, openai.token_delay = "changed", 9.0
        openai.script(then="status_500")
        request(openai, "GET", "/v1/models")
        openai.reset()

        assert openai.calls == []
        assert ask(openai).text == "constructed"


def test_the_answer_may_depend_on_the_question(openai):
    openai.answer = lambda body: body["messages"][-1]["content"].upper()

    assert ask(openai).text == "HELLO"
    assert ask(openai, messages=[{"role": "user", "content": "please echo: one two"}]).text == "one two"


def test_a_bug_in_a_simulator_is_logged_and_ends_the_call(openai, caplog):
    openai.answer = lambda body: 1 / 0

    assert ask(openai).end == "short"
    wait_for(lambda: "bug in the openai simulator" in caplog.text)
    openai.answer = "mended"
    assert ask(openai).text == "mended"


# --- life


def test_a_stopped_simulator_refuses_connections_and_comes_back_on_its_port(openai):
    url, open_socket = openai.url, connect(openai)
    openai.stop()
    with pytest.raises(ConnectionRefusedError):
        connect(openai)
    with open_socket, pytest.raises(ConnectionResetError):
        open_socket.recv(1)
    openai.start()

    assert openai.url == url
    assert ask(openai).text == DEFAULT_ANSWER


def refuses(simulator):
    try:
        connect(simulator).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_simulator_can_rest_for_a_while(openai):
    openai.rest(0.2)
    wait_for(lambda: refuses(openai))
    wait_for(lambda: not refuses(openai))

    assert ask(openai).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux drops what a full queue cannot take")
def test_a_black_hole_leaves_connecting_without_reply_until_it_is_filled(openai):
    openai.black_hole()
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", openai.port), 0.1)
    openai.start()

    assert ask(openai).status == 200


def test_a_taken_port_is_an_error_and_leaves_no_thread():
    before = threading.active_count()
    with OpenAISimulator() as openai, pytest.raises(OSError, match="in use"):
        OpenAISimulator(openai.port)

    assert threading.active_count() == before


def test_closing_ends_running_calls_and_may_be_repeated(openai):
    openai.script("hang")
    path, headers, body = WIRES["openai"]
    with connect(openai) as sock:
        send(sock, "POST", path, headers, body)
        wait_for(lambda: openai.calls)
        openai.close()
        openai.close()

        assert listen(sock).end in ("short", "reset")


@pytest.mark.parametrize(
    "wrong", [b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
)
def test_what_is_not_http_is_told_so(openai, wrong):
    with connect(openai) as sock:
        sock.sendall(wrong)

        assert listen(sock).status == 400


def test_a_chunked_request_body_is_read(openai):
    def body():
        yield b'{"model": "gpt-6-luna", "messages": '
        yield b'[{"role": "user", "content": "echo: in chunks"}]}'

    url = f"{openai.base_url}/chat/completions"
    reply = httpx.post(url, content=body(), headers={"authorization": "Bearer sk-x"}, trust_env=False)

    assert reply.json()["choices"][0]["message"]["content"] == "in chunks"


async def test_simulators_serve_async_clients_of_the_same_process(copilot, openai, ollama):
    async with httpx.AsyncClient(trust_env=False) as client:
        replies = [await client.get(f"{simulator.url}/api/version") for simulator in (ollama, openai, copilot)]

    assert [reply.status_code for reply in replies] == [200, 404, 404]


def test_the_package_resolves_its_names_when_they_are_used():
    assert gateway_core.testing.CopilotSimulator is CopilotSimulator
    assert "OllamaSimulator" in dir(gateway_core.testing)
    with pytest.raises(AttributeError):
        _ = gateway_core.testing.Nothing
    code = "import gateway_core.testing, sys; print('gateway_core.testing.simulators' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_tls_is_served_with_a_context(tmp_path):
    needs("openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command = [*make.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))

    with OpenAISimulator(tls=served) as openai, httpx.Client(verify=trusting, trust_env=False) as client:
        openai.script("ok", "cut_after:3")
        path, headers, body = WIRES["openai"]
        whole = client.post(openai.url + path, headers=headers, json=body)
        with pytest.raises(httpx.TransportError):  # Python's TLS shows a reset as an early end
            client.post(openai.url + path, headers=headers, json={**body, "stream": True})

    assert openai.url.startswith("https://")
    assert whole.json()["choices"][0]["message"]["content"] == DEFAULT_ANSWER


async def test_an_async_test_can_wait_for_the_end_of_all_calls(openai):
    async with httpx.AsyncClient(trust_env=False, headers={"authorization": "Bearer sk-x"}) as client:
        await client.post(f"{openai.base_url}/chat/completions", json=WIRES["openai"][2])

    await openai.until_idle()
    assert openai.busiest == 1


def test_calls_at_the_same_time_are_counted(openai):
    openai.script(then="hang")
    path, headers, body = WIRES["openai"]
    with connect(openai) as one, connect(openai) as two, connect(openai) as three:
        for sock in (one, two, three):
            send(sock, "POST", path, headers, body)
        wait_for(lambda: len(openai.paid_calls) == 3)

    assert openai.busiest == 3


# --- over HTTP


@pytest.fixture(params=["copilot", "openai", "ollama"])
def simulator(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def control(simulator, verb, name, **body):
    return request(simulator, verb, f"/_sim/{name}", body or None)


def test_a_script_can_be_written_over_http(simulator):
    reply = control(simulator, "POST", "script", faults=["status_500", "cut_after:40"], then="end_after:1")
    answers = [ask(simulator, simulator.name) for _ in range(3)]

    assert reply.status == 200
    assert [heard.end for heard in answers] == ["clean", "reset", "clean"]
    assert answers[0].status == 500
    assert answers[2].text == tokens_of(DEFAULT_ANSWER)[0]


def test_calls_are_told_over_http_and_controls_are_none(simulator):
    control(simulator, "POST", "script", faults=[])
    ask(simulator, simulator.name)
    simulator.wait_idle()

    calls = control(simulator, "GET", "calls").json

    path = WIRES[simulator.name][0]
    assert [(call["path"], call["outcome"], call["tokens_sent"]) for call in calls] == [(path, "answered", 60)]
    assert control(simulator, "GET", "counts").json == {path: 1}
    assert control(simulator, "GET", "calls?path=/nothing").json == []


def test_settings_are_shown_and_changed_over_http_and_reset(simulator):
    assert control(simulator, "GET", "config").json["answer"] == DEFAULT_ANSWER
    assert control(simulator, "POST", "config", answer="short", token_delay=0).json["answer"] == "short"
    assert ask(simulator, simulator.name).text == "short"

    assert control(simulator, "POST", "reset").json == {"status": "ok"}
    assert control(simulator, "GET", "calls").json == []
    assert ask(simulator, simulator.name).text == DEFAULT_ANSWER


@pytest.mark.parametrize(
    ("verb", "name", "body", "status", "word"),
    [
        ("POST", "script", {"faults": ["statu_500"]}, 400, "unknown fault"),
        ("POST", "script", {"faults": "status_500"}, 400, "faults"),
        ("POST", "script", {"fault": ["status_500"]}, 400, "faults"),
        ("POST", "config", {"answr": "x"}, 400, "unknown setting"),
        ("POST", "do", {"action": "explode"}, 400, "unknown action"),
        ("GET", "nothing", {}, 404, "POST /_sim/script"),
    ],
)
def test_a_wrong_control_says_what_is_allowed(simulator, verb, name, body, status, word):
    reply = control(simulator, verb, name, **body)

    assert reply.status == status
    assert word in reply.json["error"]


def test_faults_are_listed_over_http(simulator):
    listed = control(simulator, "GET", "faults").json

    assert listed.keys() >= LINES.keys() | simulator.named_errors.keys()


def test_a_simulator_can_be_sent_to_rest_over_http(simulator):
    assert control(simulator, "POST", "down", seconds=0.2).json == {"status": "ok"}
    wait_for(lambda: refuses(simulator))
    wait_for(lambda: not refuses(simulator))

    assert ask(simulator, simulator.name).status == 200


# --- the command


def test_the_command_lists_every_fault(capsys):
    assert main(["--faults"]) == 0

    listed = capsys.readouterr().out
    named = {name for s in (CopilotSimulator, OpenAISimulator, OllamaSimulator) for name in s.named_errors}
    names = {line.strip().partition(" ")[0].partition(":")[0] for line in listed.splitlines()}
    assert names >= LINES.keys() | named


def test_the_command_tells_a_taken_port(capsys, openai):
    assert main(["--openai-port", str(openai.port)]) == 2
    assert str(openai.port) in capsys.readouterr().err


def test_the_command_serves_all_three_until_it_is_ended():
    command = [sys.executable, "-m", "gateway_core.testing.simulators", "--token-delay", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if "Ctrl-C" in line:
                    break
            exported = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
            reply = httpx.get(exported["OLLAMA_BASE_URL"] + "/api/tags", trust_env=False)
            watched = process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130

    assert reply.status_code == 200
    assert "/api/tags" in watched
    assert exported["OPENAI_BASE_URL"].endswith("/v1")
    assert exported["GITHUB_COPILOT_TOKEN"].startswith("gho_")


def test_only_loopback_is_listened_on(simulator):
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", simulator.port))
