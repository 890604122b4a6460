"""Scripts and styles without comments and needless spaces: what stays, and what must not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.api.pages import bare_sources
from service.api.pages.bare_sources import bare_script, bare_style
from service.api.pages.playground_files import read_playground

PLAYGROUND = Path(bare_sources.__file__).parent / "playground"
SOURCES = sorted(path for path in PLAYGROUND.rglob("*") if path.suffix in (".js", ".css"))


def test_script_loses_comments_and_spaces_alone() -> None:
    source = """\
/**
 * Doubles.
 * @param {number} x A number. */
export function twice(x) {
  // Twice, it's said.
  const address = "https://a.example/*"; // told
  /** @type {number} */ (x).toFixed();
  const same = /** @type {number} */ (x);
  console.log(
    same,
    [
      x,
    ],
  );
  /* several
     lines */ return 2 * x;
}
"""
    assert bare_script(source) == (
        'export function twice(x){const address="https://a.example/*";(x).toFixed();'
        "const same=(x);console.log(same,[x]);return 2*x}"
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("const a = b in c;", "const a=b in c;"),
        ("return\n  typeof x;", "return typeof x;"),
        ("a = b + +c - -d - e;", "a=b+ +c- -d-e;"),
        ("export default class A {}", "export default class A{}"),
        ("for (const [a] of [1, 2]) b(a);", "for(const[a]of[1,2])b(a);"),
        ("for (;;) {\n  a();\n}", "for(;;){a()}"),
        # Divisions, and what only seems to be one.
        ("a = b / c / d;  // half", "a=b/c/d;"),
        ("a = (b) / 2; c = [1] / 2;", "a=(b)/2;c=[1]/2;"),
        ("a.replace(/[/ ]\\/ ;}/g, b);", "a.replace(/[/ ]\\/ ;}/g,b);"),
        ("const a = / , /.test(b);", "const a=/ , /.test(b);"),
        # Texts, and values within them.
        ("""a = "it's , }"; b = 'a " ; }';""", """a="it's , }";b='a " ; }';"""),
        ("a = `b  // ${c + 1}  /* ; } ${ `d ${e}  f` } `;", "a=`b  // ${c+1}  /* ; } ${`d ${e}  f`} `;"),
        ("a = `${b.map((c) => {\n  return `${c} ;`;\n})} , }`;", "a=`${b.map((c)=>{return`${c} ;`})} , }`;"),
        ("a = `\\` ${b}`; // c", "a=`\\` ${b}`;"),
        ("a = ` $ {b}  `;", "a=` $ {b}  `;"),
    ],
)
def test_part_of_a_script_keeps_its_meaning(source: str, expected: str) -> None:
    assert bare_script(source) == expected


def test_style_loses_comments_and_spaces_alone() -> None:
    source = """\
/* Paper { by day } */
header :is(select, button),
.row > p {
  padding: 0 clamp(12px, 3vw, 32px);
  width: calc(50vw - 574px); /* half */
}

@media (max-width: 760px) {
  .key::before {
    content: " , ; ";
  }
}
"""
    assert bare_style(source) == (
        "header :is(select,button),.row>p{padding:0 clamp(12px,3vw,32px);width:calc(50vw - 574px)}"
        '@media (max-width:760px){.key::before{content:" , ; "}}'
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_file_is_sent_bare_and_what_is_bare_stays_as_it_is(path: Path) -> None:
    bare = bare_script if path.suffix == ".js" else bare_style
    name = path.relative_to(PLAYGROUND).as_posix()
    sent = read_playground().assets[name].plain.content.decode()
    assert sent == bare(path.read_text(encoding="utf-8")) == bare(sent)
    assert len(sent) < path.stat().st_size


def test_page_itself_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!DOCTYPE html>\n  <!-- kept -->")
    assert "  <!-- kept -->" in read_playground(tmp_path).page("").plain.content.decode()
