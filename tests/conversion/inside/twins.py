"""The same models with LAuReL layers where their source adds.

The oracle of conversion reads the source, not the graph: each addition with
the comment `# residual` becomes a LAuReL layer on `[skip, branch, *history]`.
"""

import ast
import contextlib
import functools
import importlib
import pathlib
import re
import types

import keras


class Twins:
    """The LAuReL layers of the twins, and the skips that have gone by.

    `connected` makes them: within it, an addition on a symbolic tensor puts a
    layer into the graph, and one that runs op by op uses the next layer of
    its own. Elsewhere the model's own code adds.
    """

    def __init__(self):
        self.prototype = None
        self.layers = []
        self._runs = False
        self._count = 0
        self._skips = {}

    @contextlib.contextmanager
    def building(self, prototype):
        self.prototype, self.layers = prototype, []
        self._skips = {}
        yield
        self._skips = {}

    @contextlib.contextmanager
    def running(self, prototype, own_layers, sites):
        """Additions use `own_layers` in turn, over and over.

        Args:
            own_layers: List that the first run appends to.
            sites: The number of additions after which the first layer is used
                again, as where one block runs several times.
        """
        self.prototype, self.layers, self._sites = prototype, own_layers, sites
        self._runs, self._count, self._skips = True, 0, {}
        yield
        self._runs, self.prototype, self._skips = False, None, {}

    def connect(self, stream, right, a, b, add):
        symbolic = keras.backend.is_keras_tensor(a)
        if self.prototype is None or not (symbolic or self._runs):
            return add(a, b)
        skip, branch = (b, a) if right else (a, b)
        layer = self._layer(symbolic)
        key = stream, symbolic, tuple(skip.shape)
        skips = self._skips.setdefault(key, [])
        previous = skips[::-1][: max(layer.num_activations - 1, 0)]
        skips.append(skip)
        return layer([skip, branch, *previous])

    def _layer(self, symbolic):
        copy = type(self.prototype).from_config(
            {**self.prototype.get_config(), "name": None}
        )
        if symbolic:
            return copy
        index = self._count % self._sites
        self._count += 1
        if index == len(self.layers):
            self.layers.append(copy)
        return self.layers[index]


TWINS = Twins()


@functools.cache
def module(name):
    """The module `name` again, with additions that `TWINS` connects."""
    twin = types.ModuleType(f"{name}_twin")
    twin.__dict__["_connect"] = TWINS.connect
    tree, lost = rewritten(name)
    assert not lost, f"No addition in lines {sorted(lost)} of {name}"
    exec(compile(tree, f"{name} (twin)", "exec"), twin.__dict__)
    return twin


def rewritten(name):
    """The syntax tree of the twin, and the lines of marks without addition."""
    module_file = importlib.import_module(name).__file__
    source = pathlib.Path(module_file).read_text()
    rewrite = _Rewrite(source)
    tree = ast.fix_missing_locations(rewrite.visit(ast.parse(source)))
    return tree, rewrite.marks


def _marks(source):
    found = enumerate(source.splitlines(), start=1)
    pattern = re.compile(r"# residual( right)?(?: stream (\w+))?$")
    return {
        line: (bool(match[1]), match[2] or "")
        for line, text in found
        if (match := pattern.search(text))
    }


class _Rewrite(ast.NodeTransformer):
    """Each marked addition as `_connect(stream, right, a, b, add)`."""

    def __init__(self, source):
        self.marks = _marks(source)

    def visit_ClassDef(self, node):
        """Unregistered: the names are the plain classes'."""
        node.decorator_list = [
            d
            for d in node.decorator_list
            if "register_keras_serializable" not in ast.unparse(d)
        ]
        return self.generic_visit(node)

    def visit_BinOp(self, node):
        mark = self._mark(node) if isinstance(node.op, ast.Add) else None
        if mark is None:
            return self.generic_visit(node)
        return self._connect(mark, node.left, node.right, "lambda a, b: a + b")

    def visit_AugAssign(self, node):
        mark = self._mark(node) if isinstance(node.op, ast.Add) else None
        if mark is None:
            return self.generic_visit(node)
        left = ast.Name(node.target.id, ast.Load())
        value = self._connect(mark, left, node.value, "lambda a, b: a + b")
        return ast.Assign([node.target], value)

    def visit_Call(self, node):
        function = ast.unparse(node.func)
        operands = node.args
        template = "lambda a, b: FUNCTION(a, b)"
        if len(operands) == 1 and isinstance(operands[0], ast.List):
            operands = operands[0].elts
            template = "lambda a, b: FUNCTION([a, b])"
        adds = re.search(r"\badd\w*$|\bAdd\(.*\)$", function)
        mark = self._mark(node) if adds and len(operands) == 2 else None
        if mark is None:
            return self.generic_visit(node)
        add = template.replace("FUNCTION", function)
        return self._connect(mark, *operands, add)

    def _mark(self, node):
        lines = range(node.lineno, node.end_lineno + 1)
        line = next((n for n in lines if n in self.marks), None)
        return line and self.marks.pop(line)

    def _connect(self, mark, a, b, add):
        right, stream = mark
        return ast.Call(
            ast.Name("_connect", ast.Load()),
            [
                ast.Constant(stream),
                ast.Constant(right),
                self.visit(a),
                self.visit(b),
                ast.parse(add, mode="eval").body,
            ],
            [],
        )
