"""The scripts that a browser receives have the syntax of the sources, as TypeScript reads both."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from playwright_page import TOOLS

from service.api.pages.playground_files import read_playground

pytestmark = pytest.mark.page

SOURCES = Path(__file__).parents[2] / "service/api/pages/playground"
#: Prints of each pair whether their syntax trees are one, comments and spaces aside.
COMPARE = """
const ts = require('typescript');
const tree = (text) => {
    const file = ts.createSourceFile('a.js', text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
    const wrong = file.parseDiagnostics.map((each) => each.messageText);
    const shape = (node) => {
        const parts = [];
        ts.forEachChild(node, (child) => void parts.push(shape(child)));
        return [
            node.kind, node.operator ?? 0, node.flags & ts.NodeFlags.BlockScoped,
            node.rawText ?? node.text ?? '', parts,
        ];
    };
    return JSON.stringify([wrong, file.statements.map(shape)]);
};
const pairs = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(pairs.map(([one, other]) => tree(one) === tree(other))));
"""


def compared(*pairs: tuple[str, str]) -> list[bool]:
    done = subprocess.run(
        ["node", "-e", COMPARE],
        cwd=TOOLS,
        check=True,
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=300,
    )
    found: list[bool] = json.loads(done.stdout)
    return found


def test_scripts_that_are_sent_have_the_syntax_of_their_sources() -> None:
    names = [name for name in read_playground().assets if name.endswith(".js")]
    assert len(names) > 20
    sent = [read_playground().assets[name].plain.content.decode() for name in names]
    sources = [(SOURCES / name).read_text(encoding="utf-8") for name in names]
    assert dict(zip(names, compared(*zip(sources, sent, strict=True)), strict=True)) == dict.fromkeys(
        names, True
    )


def test_comparison_sees_what_differs() -> None:
    assert compared(
        ("a = [1, 2,];\n// b", "a=[1,2]"),
        ("return_ (x)", "return_(x)"),
        ("a = b\n+ +c", "a=b++c"),
        ("a = `x  y`;", "a=`x y`;"),
        ("if (a) { b(); }", "if(a)b();"),
        ("const a = 1;", "let a=1"),
    ) == [True, True, False, False, False, False]
