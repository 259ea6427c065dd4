"""Scripts consist of what they need, and lack nothing."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest
from lupa import lua51

from shared.errors import StoreError
from shared.store.assembly import names_in, needed, parts_of, without_comments
from shared.store.scripts import load, script_names
from tests.shared.store.bytecode import global_names
from tests.support import RedisServer

LUA = {
    "redis", "cjson", "struct", "string", "math", "table", "unpack", "pairs", "ipairs", "next", "type", "tonumber",
    "tostring", "pcall", "error", "setmetatable", "ARGV",
}  # fmt: skip
"""What Redis gives to scripts, as far as ours use it."""

LIBRARY = """\
-- A library of everything.
local KEY, OTHER = 'a -- b', "it's"
local function used(s) return s .. KEY end -- not: unused

local first, second
do
  local own = 1

  function first() return own end
  function second() return used(own) end
end

local box = {size = 3}
function box.put(s) box[#box + 1] = s end
local function unused() return first() end
local TABLE = {
  unused = 1,
}
"""


def taken(script: str) -> str:
    """What this script takes of the library."""
    return "".join(part.text for part in needed(parts_of(LIBRARY), script))


def test_what_is_not_named_is_left_out() -> None:
    assert taken("return 1") == ""


def test_what_is_used_brings_what_it_uses() -> None:
    """Through others too, and in the library's order."""
    head = "local KEY, OTHER = 'a -- b', \"it's\"\nlocal function used(s) return s .. KEY end \n"
    assert taken("used()") == head
    assert taken("second()").startswith(head + "local first, second\ndo\n")
    assert "unused" not in taken("second()")


def test_a_block_belongs_to_the_names_before_it() -> None:
    assert taken("first()") == taken("second()")
    assert "local own = 1" in taken("first()")


def test_a_table_comes_with_its_functions() -> None:
    assert taken("box.put(1)") == "local box = {size = 3}\nfunction box.put(s) box[#box + 1] = s end\n"


def test_other_words_take_nothing() -> None:
    """Comments, strings and fields name no variable; what follows a concatenation does."""
    assert taken("-- used\nreturn 'first', \"second\", t.box, t.TABLE, 1.5") == ""
    assert names_in("a..b .. c.d") == {"a", "b", "c"}


def test_strings_keep_what_looks_like_a_comment() -> None:
    assert without_comments("a('--', \"'--\") -- 'b'\n\n  -- c\nd()\n") == "a('--', \"'--\") \nd()\n"


@pytest.mark.parametrize("statement", ["redis.call('PING')", "do\n  f()\nend", "for i = 1, 2 do f(i) end"])
def test_libraries_only_declare(statement: str) -> None:
    """What has an effect could be left out by mistake."""
    with pytest.raises(StoreError, match="more than declarations"):
        parts_of(f"local x = 1\n{statement}\n")


def test_no_long_brackets() -> None:
    """They are not told from other text."""
    folder = Path(str(files("shared.store") / "lua"))
    for path in (*folder.glob("*.lua"), *(folder / "lib").glob("*.lua")):
        text = path.read_text()
        assert not re.search(r"--\[=*\[", text), path.name
        assert not re.search(r"\[=*\[", without_comments(text)), path.name


@pytest.mark.parametrize("name", script_names())
def test_scripts_lack_nothing(name: str) -> None:
    """A name that was left out, or is declared later, would be a global variable."""
    assert global_names(load(name, with_flags=False).text) <= LUA


def test_each_script_compiles(any_redis_server: RedisServer) -> None:
    """Lua allows 200 local variables a function, and 60 of others'."""
    with any_redis_server.client() as client:
        with_flags = not client.info("server")["redis_version"].startswith("6.")
        for name in script_names():
            script = load(name, with_flags=with_flags)
            assert client.script_load(script.text) == script.sha


def test_rare_functions_are_defined_at_their_first_use() -> None:
    """All of a module at once, and only once; a name that it has not is no endless search."""
    library = parts_of((Path(str(files("shared.store"))) / "lua" / "lib" / "base.lua").read_text())
    script = """
local times = 0
local box = rarely(function(box)
  times = times + 1
  local size = 0
  function box.put() size = size + 1 return box.size() end
  function box.size() return size end
end)
local before = times
return before, box.put(), box.put(), box.size(), box.other == nil, times
"""
    text = "".join(part.text for part in needed(library, script)) + script
    assert lua51.LuaRuntime().execute(text) == (0, 1, 2, 2, True, 1)
