"""The laws of the house: who may import whom, what may be in a file, what an import may cost.

Each law is a function from source text to the lines that break it, so that a broken example shows that it bites.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "isthmus"

# A module imports from its own layer or from lower ones.
LAYERS = (
    ("noise", "batch", "errors", "suggest", "given"),
    ("gaussians", "correlations", "contrasts", "discrepancies", "ladders", "hamiltonian"),
    (
        "likelihoods",
        "likelihoods_series",
        "likelihoods_table",
        "posteriors",
        "posteriors_flows",
        "priors",
        "fusions",
        "quantisers",
        "networks",
        "samplers",
    ),
    ("kinds", "modality"),
    ("model", "inference", "objectives"),
    ("methods", "data"),
    ("training", "evaluation", "testing", "saving", "imputation"),
    ("estimator", "runs", "items", "recipes"),
    ("report", "explorer", "service"),
    ("cli",),
)
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}

# What the layers alone would allow: kinds, methods and data do not know of each other's work, nor src of its tests.
STRANGERS = {
    "kinds": {"posteriors", "priors", "fusions", "modality"},
    "model": {"kinds"},
    "objectives": {"kinds"},
    "methods": {"kinds", "data"},
    "data": {"posteriors", "priors", "fusions", "model", "objectives", "methods"},
    "training": {"testing"},
    "evaluation": {"testing"},
    "testing": {"training", "evaluation"},
}

# Readers that run what the file says.
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}

# Where a distribution is imported under another name than its own.
IMPORT_NAMES = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "lightning-fabric": "lightning_fabric"}

HEAVY = ("torch", "numpy", "pandas", "polars", "pyarrow", "matplotlib", "sklearn", "scipy")


def modules() -> dict[str, str]:
    """Source text of each module of the package, by its path below `src/isthmus`."""
    door = SOURCE / "__init__.py"  # names its modules as text and imports them when asked
    paths = (path for path in sorted(SOURCE.rglob("*.py")) if path != door)
    return {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def room(module: str) -> str:
    """The part of the house that a module belongs to: `kinds` for kinds/image.py, `batch` for batch.py."""
    return module.split("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each `module` or `module.name` that is imported anywhere in the tree, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from ((f"{dots}{node.module or ''}.{alias.name}", node.lineno) for alias in node.names)


def wrong_ways(module: str, text: str) -> list[str]:
    """Imports of `module` that run upwards, or to a stranger."""
    here = room(module)
    wrong = []
    for name, line in imports(ast.parse(text)):
        where = f"src/isthmus/{module}:{line}"
        if name.startswith("."):
            wrong.append(f"{where} imports {name}: write the whole name, isthmus...")
        elif name == "isthmus":
            wrong.append(f"{where} imports isthmus itself: import from the module that holds the name")
        elif name.startswith("isthmus.") and name != "isthmus.__version__":
            there = name.split(".")[1]
            if there not in LAYER:
                wrong.append(f"{where} imports isthmus.{there}, which is no module with a layer in tests/test_house.py")
            elif LAYER[there] > LAYER[here] or there in STRANGERS.get(here, ()):
                wrong.append(f"{where}: {here} may not import isthmus.{there}")
    return wrong


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_lines(module: str, text: str) -> list[str]:
    """Lines that could run what a file says: pickles, `eval`, loaders that build any object."""
    tree = ast.parse(text)
    found = [
        (name, line)
        for name, line in imports(tree)
        if name.split(".")[0] in PICKLES or name in UNSAFE_CALLS or name.endswith("pickle")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if dotted(node.func) in UNSAFE_CALLS:
                found.append((f"{dotted(node.func)}(...)", node.lineno))
            allowed = (keyword.value for keyword in node.keywords if keyword.arg == "allow_pickle")
            found += [("allow_pickle", value.lineno) for value in allowed if ast.unparse(value) != "False"]
    return [f"src/isthmus/{module}:{line}: {name}" for name, line in found]


def imported_at_once(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Imports that happen when the module is imported: not those in functions, nor those for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)


def strange_requirements(module: str, text: str, core: set[str]) -> list[str]:
    """Imports at the top of a module that the core installation does not bring."""
    return [
        f"src/isthmus/{module}:{line}: {name} is imported at the top and is no core dependency"
        for name, line in imported_at_once(ast.parse(text))
        if name.split(".")[0] not in core | {"isthmus"} | sys.stdlib_module_names
    ]


def core_imports() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = (re.split(r"[^\w.-]", requirement)[0].lower() for requirement in project["dependencies"])
    return {IMPORT_NAMES.get(name, name) for name in names}


# Put together from pieces, or these lines would break the law they state.
MACHINE_PATH = re.compile(r"(?<![\w.:/~})-])/(?:" + "|".join(("home", "Users", "root", "work", "tmp")) + r")/[\w.]")


def machine_paths(text: str) -> list[int]:
    """Numbers of the lines that hold an absolute path of somebody's machine."""
    return [number for number, line in enumerate(text.splitlines(), start=1) if MACHINE_PATH.search(line)]


def repository_files() -> list[Path]:
    """Files that are tracked, or would be with the next commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files belong to the project cannot be told")
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def run_python(code: str) -> str:
    """What `code` prints in a fresh interpreter that finds this source."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", modules())
def test_module_has_a_layer(module):
    assert room(module) in LAYER, "give it a layer in tests/test_house.py"


def test_each_folder_of_modules_is_a_package():
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    assert not [folder.name for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("module", [module for module in modules() if room(module) in LAYER])
def test_imports_run_downwards(module):
    assert not wrong_ways(module, modules()[module])


@pytest.mark.parametrize("module", modules())
def test_nothing_runs_what_a_file_says(module):
    assert not unsafe_lines(module, modules()[module])


@pytest.mark.parametrize("module", modules())
def test_a_module_opens_with_the_core_installation_alone(module):
    assert not strange_requirements(module, modules()[module], core_imports())


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("batch.py", "from isthmus.gaussians import Normal"),
        ("kinds/image.py", "import torch\nfrom isthmus import methods"),
        ("kinds/image.py", "def fit():\n    from isthmus.fusions import Mean"),
        ("methods/mvae.py", "import isthmus.kinds.image"),
        ("data/store.py", "if TYPE_CHECKING:\n    from isthmus.model import MultimodalAutoencoder"),
        ("training/loop.py", "from isthmus.estimator import Autoencoder"),
        ("report/page.py", "from . import figures"),
        ("estimator.py", "import isthmus"),
    ],
)
def test_the_law_of_imports_bites(module, text):
    assert len(wrong_ways(module, text)) == 1


def test_the_law_of_imports_lets_honest_ones_through():
    text = "import torch\nfrom isthmus import __version__\nfrom isthmus.kinds.base import Kind\nimport isthmus.batch"
    assert not wrong_ways("data/store.py", text)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "def f(x):\n    return eval(x)",
        "state = torch.load(path)",
        "from torch import load",
        "config = yaml.load(text, Loader=yaml.SafeLoader)",
        "array = np.load(path, allow_pickle=True)",
    ],
)
def test_the_law_of_safe_files_bites(text):
    assert len(unsafe_lines("example.py", text)) == 1


def test_the_law_of_safe_files_lets_honest_lines_through():
    text = "model.eval()\nyaml.safe_load(text)\nre.compile('eval(')\nnp.load(path)\nnp.load(path, allow_pickle=False)"
    assert not unsafe_lines("example.py", text)


def test_the_law_of_requirements_bites():
    text = "import json\nimport torch\nimport pandas\ndef f():\n    import polars"
    assert strange_requirements("example.py", text, core_imports()) == [
        "src/isthmus/example.py:3: pandas is imported at the top and is no core dependency"
    ]


def test_importing_is_light():
    loaded = json.loads(run_python("import isthmus, json, sys; print(json.dumps(list(sys.modules)))"))
    assert "isthmus" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_help_is_light():
    code = """
import sys
from isthmus.cli.main import main
sys.argv = ["isthmus", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("LOADED", *sys.modules)
"""
    loaded = run_python(code).rsplit("LOADED", 1)[1].split()
    assert not [name for name in HEAVY if name in loaded]


def test_public_names_are_the_same_for_people_and_type_checkers():
    import isthmus

    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = dict(reversed(name.rsplit(".", 1)) for name, _ in imports(block))
    assert typed == isthmus._HOMES
    assert set(typed) <= set(dir(isthmus)) and set(typed) <= set(isthmus.__all__)


def test_public_names_are_found_where_they_live():
    import isthmus

    there = {name: home for name, home in isthmus._HOMES.items() if importlib.util.find_spec(home)}
    assert "Batch" in there
    for name, home in there.items():
        assert getattr(isthmus, name) is getattr(importlib.import_module(home), name)


def test_an_unknown_public_name_is_an_attribute_error():
    import isthmus

    with pytest.raises(AttributeError, match="module 'isthmus' has no attribute 'Autoencodr'"):
        isthmus.Autoencodr  # noqa: B018


def test_no_file_knows_the_machine_it_was_written_on():
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture, a sound, an archive
            continue
        found += [f"{path.relative_to(ROOT)}:{number}" for number in machine_paths(text)]
    assert not found


def test_the_law_of_paths_bites():
    somewhere = "/".join(("", "home", "ada", "birds.csv"))
    assert machine_paths(f"first line\nopen('{somewhere}')\nhttps://example.org{somewhere}\n..{somewhere}") == [2]


def code_blocks(text: str) -> list[str]:
    """Fenced code without its comments, which are in the reader's language."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"[ \t]*#[^\n]*", "", block) for block in blocks]


def num_headings(text: str) -> int:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return len(re.findall(r"^#{1,6} ", prose, re.MULTILINE))


def test_both_readmes_say_the_same():
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"
    texts = [path.read_text(encoding="utf-8") for path in (english, chinese)]
    assert num_headings(texts[0]) == num_headings(texts[1])
    assert code_blocks(texts[0]) == code_blocks(texts[1])
