"""Settings: where each is read from, which source wins, and who gets which key."""

import json
import math
import os
from pathlib import Path

import msgspec
import pytest

from rundial.config import (
    DEFAULT_PROJECT,
    ENVIRONMENT,
    Settings,
    config_path,
    home,
    key_for,
    local_server,
    resolve,
    server_file,
)
from rundial.errors import ConfigError

HERE = os.uname().nodename


def write_config(text):
    """The user's config.toml."""
    config_path().write_text(text, encoding="utf-8")


def announce(url, key, host=HERE):
    """What a local server writes when it listens."""
    server_file().parent.mkdir(parents=True, exist_ok=True)
    server_file().write_text(json.dumps({"url": url, "apiKey": key, "host": host, "pid": 1, "version": "0"}))


PRECEDENCE = [
    ("project", "RUNDIAL_PROJECT", "argument", "environment", "profile", "top"),
    ("endpoint", "RUNDIAL_ENDPOINT", "http://a:1", "http://b:1", "http://c:1", "http://d:1"),
    ("mode", "RUNDIAL_MODE", "disabled", "offline", "online", "disabled"),
    ("quiet", "RUNDIAL_QUIET", False, True, False, True),
    ("spool_directory", "RUNDIAL_SPOOL_DIR", "/a", "/b", "/c", "/d"),
    ("queue_bytes", None, 1 << 20, None, 1 << 21, 1 << 22),
    ("finish_timeout", None, 1.5, None, 2.5, 3.5),
    ("spool_max_age_seconds", None, 10.0, None, 20.0, 30.0),
    ("gzip_enabled", None, True, None, False, True),
    ("distributed", None, "all", None, "rank0", "all"),
    ("distributed_rank", None, 4, None, 3, 2),
]


@pytest.mark.parametrize(("option", "variable", "argument", "environment", "profile", "top"), PRECEDENCE)
def test_the_nearer_source_wins(monkeypatch, option, variable, argument, environment, profile, top):
    """Argument before environment before profile before the top of config.toml before the default."""

    def found(**arguments):
        return getattr(resolve(arguments), option)

    default = found()
    write_config(f"{option} = {json.dumps(top)}\n")
    assert found() == top
    write_config(f"{option} = {json.dumps(top)}\n[profiles.default]\n{option} = {json.dumps(profile)}\n")
    assert found() == profile
    if variable is not None:
        assert ENVIRONMENT[variable] == option
        monkeypatch.setenv(variable, str(environment))
        assert found() == environment
        monkeypatch.setenv(variable, "  ")
        assert found() == profile
    assert found(**{option: argument}) == argument
    assert found(**{option: None}) == profile
    config_path().unlink()
    assert found() == default


def test_every_variable_sets_its_option(monkeypatch):
    """Each name of the list reaches the option it is said to set, in the option's own type."""
    texts = {
        "RUNDIAL_PROJECT": ("p", "p"),
        "RUNDIAL_WORKSPACE": ("w", "w"),
        "RUNDIAL_ENDPOINT": ("https://logs.example/ ", "https://logs.example"),
        "RUNDIAL_API_KEY": ("rdk_x", "rdk_x"),
        "RUNDIAL_MODE": ("Offline", "offline"),
        "RUNDIAL_SPOOL_DIR": ("/var/spool/x", "/var/spool/x"),
        "RUNDIAL_QUIET": ("yes", True),
        "RUNDIAL_CAPTURE_CONSOLE": ("on", True),
        "RUNDIAL_SYSTEM_METRICS": ("0", False),
        "RUNDIAL_CONTROL_DIR": ("/run/queue", "/run/queue"),
    }
    assert set(texts) == set(ENVIRONMENT)
    for variable, (text, _) in texts.items():
        monkeypatch.setenv(variable, text)
    settings = resolve({})
    assert {v: getattr(settings, ENVIRONMENT[v]) for v in texts} == {v: value for v, (_, value) in texts.items()}


def test_the_active_profile_is_chosen_by_name():
    """Only the profile that is active counts, and only for what it says."""
    write_config(
        """
        active_profile = "cluster"
        project = "top"
        quiet = true
        [profiles.cluster]
        project = "vision"
        [profiles.laptop]
        mode = "offline"
        """
    )
    settings = resolve({})
    assert (settings.project, settings.quiet, settings.mode) == ("vision", True, "online")


BROKEN = {
    "no TOML": b"project = \n",
    "no text": b"project = '\xff\xfe'\n",
    "profiles is no table": b"profiles = 3\n",
    "a profile is no table": b"[profiles]\ndefault = 'x'\n",
    "active_profile is no name": b"active_profile = ['a']\n",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_an_error_that_names_it(content):
    """A config.toml that cannot be understood is never ignored, and one knows which file to mend."""
    config_path().write_bytes(content)
    with pytest.raises(ConfigError, match=str(config_path())):
        resolve({})


def test_a_file_that_cannot_be_read_is_an_error_that_names_it():
    """Something that is no file stands in its place."""
    config_path().mkdir()
    with pytest.raises(ConfigError, match=f"cannot read {config_path()}"):
        resolve({})


def test_without_a_file_everything_has_its_default(monkeypatch):
    """Nothing has to be configured."""
    monkeypatch.delenv("RUNDIAL_SYSTEM_METRICS")
    settings = resolve({})
    assert settings == Settings(spool_directory=str(Path.cwd() / ".rundial_spool"))
    assert settings.project == DEFAULT_PROJECT


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue_bytes", math.inf),
        ("queue_bytes", math.nan),
        ("queue_bytes", 10),
        ("init_timeout", -1),
        ("finish_timeout", math.nan),
        ("heartbeat_seconds", "soon"),
        ("spool_directory", 5),
        ("api_key", 5),
        ("workspace", "a\nb"),
        ("workspace", "w" * 201),
        ("project", ".."),
        ("endpoint", "ftp://x"),
    ],
)
def test_a_value_that_cannot_be_right_is_an_error_that_names_the_option(option, value):
    """Whatever was passed: one ConfigError, which says of which option."""
    with pytest.raises(ConfigError, match=option):
        resolve({option: value})


def test_the_spool_directory_is_that_of_the_start(monkeypatch, tmp_path):
    """A script that changes its directory later does not move its spool."""
    before = resolve({}).spool_directory
    monkeypatch.chdir(tmp_path)
    assert before == str(tmp_path / "work" / ".rundial_spool")
    assert resolve({}).spool_directory == str(tmp_path / ".rundial_spool")


def test_settings_are_printed_without_the_key():
    """A repr ends up in logs and tracebacks."""
    settings = resolve({"api_key": "rdk_secret", "project": "shown"})
    assert "rdk_secret" not in f"{settings!r} {settings}"
    assert "shown" in repr(settings)


def test_the_home_is_where_the_platform_keeps_data(monkeypatch, tmp_path):
    """RUNDIAL_HOME first, then what the platform says."""
    monkeypatch.setenv("RUNDIAL_HOME", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / "data"
    monkeypatch.delenv("RUNDIAL_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert home() == tmp_path / "xdg" / "rundial"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert home() == tmp_path / ".local" / "share" / "rundial"


def test_the_local_server_is_found_by_its_announcement():
    """It says where it is, which key opens it and which process it is."""
    assert local_server() is None
    announce("http://127.0.0.1:8787", "rdk_owner")
    found = local_server()
    assert found is not None
    assert (found.url, found.api_key, found.host, found.pid) == ("http://127.0.0.1:8787", "rdk_owner", HERE, 1)


def test_an_announcement_of_another_host_is_none():
    """Homes are shared between the nodes of a cluster, and 127.0.0.1 there is another machine."""
    announce("http://127.0.0.1:8787", "rdk_owner", host="another-node")
    assert local_server() is None
    assert key_for("http://127.0.0.1:8787") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"url": "x"}', b'{"url":"x","apiKey":"k","host":"h"}', b"\xff"]
)
def test_a_damaged_announcement_is_none(content):
    """A file that was not written whole never stops a training."""
    server_file().parent.mkdir(parents=True)
    server_file().write_bytes(content)
    assert local_server() is None


MINE, OTHER = "https://mine.example", "https://other.example"


def configure(monkeypatch, **sources):
    for variable in ("RUNDIAL_ENDPOINT", "RUNDIAL_API_KEY"):
        if variable in sources:
            monkeypatch.setenv(variable, sources[variable])
    if "file" in sources:
        write_config(sources["file"])
    if "announced" in sources:
        announce(sources["announced"], "rdk_mine")


SOURCES = {
    "announced": {"announced": MINE},
    "environment": {"RUNDIAL_ENDPOINT": MINE + "/", "RUNDIAL_API_KEY": "rdk_mine"},
    "file": {"file": f"endpoint = '{MINE}/'\napi_key = 'rdk_mine'\n"},
    "profile": {"file": f"[profiles.default]\nendpoint = '{MINE}'\napi_key = 'rdk_mine'\n"},
    "endpoint in the file, key in the environment": {
        "file": f"endpoint = '{MINE}'\n",
        "RUNDIAL_API_KEY": "rdk_mine",
    },
    "key at the top, endpoint in the profile": {
        "file": f"api_key = 'rdk_mine'\n[profiles.default]\nendpoint = '{MINE}'\n",
    },
    "key in the file, endpoint in the environment": {
        "file": "api_key = 'rdk_mine'\n",
        "RUNDIAL_ENDPOINT": MINE,
    },
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
def test_a_key_is_never_handed_to_another_server(monkeypatch, sources):
    """Wherever a server and its key were set together, only that server gets the key."""
    configure(monkeypatch, **sources)
    assert key_for(MINE) == "rdk_mine"
    assert key_for(OTHER) is None


def test_a_profile_with_another_server_does_not_inherit_the_key_of_the_top():
    """The profile names a server of its own and no key: that of the top belongs to another."""
    write_config(f"endpoint = '{MINE}'\napi_key = 'rdk_mine'\n[profiles.default]\nendpoint = '{OTHER}'\n")
    assert key_for(OTHER) is None


def test_a_key_alone_belongs_to_the_server_one_names(monkeypatch):
    """RUNDIAL_API_KEY without any endpoint configured is for the one given to init."""
    monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_mine")
    assert key_for(MINE) == "rdk_mine"


def test_settings_survive_a_pickle_or_a_copy():
    """They travel with a run to another process."""
    settings = resolve({"project": "p", "queue_bytes": 1 << 20})
    assert Settings(**msgspec.structs.asdict(settings)) == settings
