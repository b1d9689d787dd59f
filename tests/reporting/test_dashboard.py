"""The command: saved where there is an account, written down where there is none, one sentence where it is wrong."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from archselect.reporting import workspace
from archselect.reporting.dashboard import main

SPACE = ["--space", "nasbench201"]


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which nobody is logged in."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        ([], {}, "nobody is logged in"),
        (["--offline"], {"WANDB_API_KEY": "a" * 40}, "--offline was given"),
        ([], {"WANDB_API_KEY": "a" * 40, "WANDB_MODE": "offline"}, "is offline here"),
        ([], {"WANDB_API_KEY": "a" * 40}, "cannot be used: Failed to authenticate"),
    ],
)
def test_where_wandb_cannot_be_used_it_writes_the_definition_and_says_how_to_apply_it(
    options: list[str],
    environment: dict[str, str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []
    login = wandb.login

    def refused(**how: Any) -> bool:
        asked.append(how)
        if environment:
            raise wandb.errors.AuthenticationError("Failed to authenticate.")
        return login(**how)

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(wandb, "login", refused)
    assert main(["--project", "p", "--entity", "e", *SPACE, "--output", "elsewhere.json", *options]) == 0
    definition = json.loads((tmp_path / "elsewhere.json").read_text())
    assert definition["workspace"]["project"] == definition["report"]["project"]["name"] == "p"
    assert definition["workspace"]["entity"] == definition["report"]["project"]["entityName"] == "e"
    told = capsys.readouterr().out
    assert reason in told and "elsewhere.json" in told and "`wandb login`" in told
    assert "`python -m archselect.reporting.dashboard --project p --entity e --space nasbench201`" in told
    assert bool(asked) is ("offline" not in reason)  # offline it does not even ask for the account


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--project", "a/b"], "--project must be a name without a slash; got 'a/b'."),
        (["--project", "p", "--entity", ""], "--entity must be a name without a slash; got ''."),
        (["--project", "p", "--space", "s9"], "There is no search space 's9'; there are darts, nasbench201, s1,"),
        (
            ["--project", "p", "--config-dir", "no"],
            "--config-dir must be a folder with search_space/*.yaml or task/*.yaml",
        ),
        (["--project", "p", "--offline", "--output", "no/such/folder.json"], "No such file or directory"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert sentence in " ".join(error.split())
    assert "Traceback" not in error


def test_without_the_library_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith(("wandb_workspaces", "archselect.reporting.workspace", "archselect.reporting.panels"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["--project", "p", *SPACE]) == 1
    assert "pip install -e '.[dashboard]'" in capsys.readouterr().err


def test_without_the_folder_of_configs_it_does_not_make_an_empty_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workspace, "CONFIGS", tmp_path / "configs")
    assert main(["--project", "p", "--offline"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "There is no search space in" in error and "pip install -e" in error


def test_a_space_of_ones_own_is_found_in_its_folder(tmp_path: Path) -> None:
    text = """{_target_: archselect.search_spaces.NASBench201Space, name: its_name, operations: [none, nor_conv_3x3],
        channels: 16, cells_per_stage: 1, alpha_scale: 1e-3}"""
    write_space(tmp_path, text)
    assert main(["--project", "p", "--offline", "--config-dir", "own", "--space", "mine"]) == 0
    written = (tmp_path / "dashboard.json").read_text()
    assert "search/alpha/cell/0-1/nor_conv_3x3" in written and "search/alpha/cell/0-1/skip_connect" not in written
    assert '"value": "its_name"' in written  # what runs log as search_space.name


def write_space(folder: Path, text: str) -> None:
    (folder / "own" / "search_space").mkdir(parents=True)
    (folder / "own" / "search_space" / "mine.yaml").write_text(text)


@pytest.mark.parametrize("text", ["foo: 1", "_target_: archselect.search_spaces.DartsSpace", "a: [", "a: ${nowhere}"])
def test_a_file_that_is_no_space_is_one_sentence(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_space(tmp_path, text)
    assert main(["--project", "p", "--offline", "--config-dir", "own", "--space", "mine"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "mine.yaml does not describe a search space: " in error and "Traceback" not in error


# --- With an account: a stand-in for W&B's server notes what it is asked to keep. ---


class Server(ThreadingHTTPServer):
    """Answers what the client of W&B asks; `kept` holds the variables of each `upsertView`."""

    def __init__(self, refuses: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kept: list[dict[str, Any]] = []
        self.refuses = refuses


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self._answer(json.loads(content)) if self.path == "/graphql" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        query, values = asked["query"], asked.get("variables") or {}
        if "upsertView" in query and self.server.refuses:
            return {"errors": [{"message": "permission denied"}]}
        if "upsertView" in query:
            self.server.kept.append(values)
            project = {"id": "1", "name": values["projectName"], "entityName": values["entityName"]}
            view = {**values, "id": f"view{len(self.server.kept)}", "project": project}
            return {"data": {"upsertView": {"view": view, "inserted": True}}}
        if "upsertModel" in query:
            return {"data": {"result": {"project": None, "model": None, "inserted": True}}}
        if "models(" in query:
            return {"data": {"models": {"edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}}}
        viewer = {"id": "1", "entity": "somebody", "username": "somebody", "flags": "{}", "teams": {"edges": []}}
        return {"data": {"viewer": viewer}}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(refuses=getattr(request, "param", False))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield server
    wandb.teardown()
    server.shutdown()


def test_with_an_account_it_saves_what_it_would_write_and_says_where(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--project", "p", *SPACE]) == 0
    told = capsys.readouterr().out
    assert f"Workspace: http://127.0.0.1:{server.server_port}/somebody/p?nw=" in told
    assert f"Report: http://127.0.0.1:{server.server_port}/somebody/p/reports/" in told
    assert not (tmp_path / "dashboard.json").exists()
    assert main(["--project", "p", *SPACE, "--offline", "--entity", "somebody"]) == 0
    written = json.loads((tmp_path / "dashboard.json").read_text())
    kept = {view["type"]: view for view in server.kept}
    assert {(view["entityName"], view["projectName"]) for view in server.kept} == {("somebody", "p")}
    assert nameless(json.loads(kept["project-view"]["spec"])) == nameless(written["workspace"]["spec"])
    assert nameless(json.loads(kept["runs"]["spec"])) == nameless(written["report"]["spec"])


def nameless(spec: Any) -> Any:
    """Return a spec without the names that the library draws anew each time."""
    if isinstance(spec, dict):
        return {key: nameless(value) for key, value in spec.items() if key not in ("__id__", "id")}
    return [nameless(one) for one in spec] if isinstance(spec, list) else spec


@pytest.mark.parametrize("server", [True], indirect=True, ids=["refuses"])
def test_a_refusal_is_one_sentence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--project", "p", "--entity", "others", *SPACE]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "Weights & Biases refused the dashboard: " in error and "permission denied" in error
    assert "Traceback" not in error
