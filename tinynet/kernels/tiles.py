"""TILE rows times a matrix at once: the innermost loop of convolutions and of dense layers."""

from __future__ import annotations

from typing import Any

from tinynet.kernels.settings import SUMS, TILE, VECTOR_BYTES, Array, inline, uint
from tinynet.kernels.vectors import Code, Vector, compiled_as

DOTS = 2  # columns that are multiplied at once where they are few


@inline
def list_tiles(tiles: Array, positions: Any) -> Any:
    """Write which tiles there are, the first of TILE neighbouring positions each, and return how many.

    The last one overlaps others where need be.
    """
    count = uint(0)
    for p in range(uint(0), positions, uint(TILE)):
        tiles[count] = min(p, max(positions, uint(TILE)) - uint(TILE))
        count += uint(1)
    return count


@inline
def in_even_tiles(rows: Any) -> Any:
    """In how many tiles so many rows are multiplied, and how many of these have TILE rows: the first ones.

    The others have one fewer, so that all rows come out even. There may be too few for that: then all tiles have TILE,
    and the last one is made up with any rows.
    """
    tiles = (rows + uint(TILE - 1)) // uint(TILE)
    missing = tiles * uint(TILE) - rows
    return tiles, tiles - missing if missing <= tiles else tiles


def _products_of(*heights: int, ahead: bool = False) -> Any:
    """The function that multiplies so many rows, one of ``heights``, with a matrix at once.

    With ``ahead``, it fetches what it is told to.
    """

    def write(
        code: Code,
        x: Any,
        starts: Any,
        p: Any,
        rows: Any,
        runs: Any,
        next_run: Any,
        run: Any,
        W: Any,
        w: Any,
        pitch: Any,
        next_w: Any,
        b: Any,
        first_b: Any,
        next_b: Any,
        least: Any,
        y: Any,
        t: Any,
        next_t: Any,
        width: Any,
    ) -> None:
        build = code.builder
        for height in code.cases(rows, heights):
            corners = [build.gep(x, [code.element(starts, build.add(p, code.integer(i)))]) for i in range(height)]
            for r, vectors in code.blocks(width, min(4, SUMS // height), halves=VECTOR_BYTES == 64 and not ahead):
                begins = [build.add(build.add(first_b, r), build.mul(next_b, code.integer(i))) for i in range(height)]
                sums = [[code.variable(vector.load(b, begin)) for vector in vectors] for begin in begins]
                place = code.variable(build.add(w, r))
                with code.loop(code.integer(0), runs) as i:
                    run_starts = [build.gep(corner, [build.mul(i, next_run)]) for corner in corners]
                    with code.loop(code.integer(0), run) as k:
                        factors = [vector.load(W, build.load(place)) for vector in vectors]
                        if ahead:
                            code.fetch(W, build.add(build.load(place), next_w))
                        for start, totals in zip(run_starts, sums, strict=True):
                            number = code.element(start, k)
                            for vector, total, factor in zip(vectors, totals, factors, strict=True):
                                code.add_product(total, vector.splat(number), factor)
                        build.store(build.add(build.load(place), pitch), place)
                for i, totals in enumerate(sums):
                    to = build.add(build.add(t, r), build.mul(next_t, code.integer(i)))
                    for vector, total in zip(vectors, totals, strict=True):
                        vector.store(code.at_least(vector.splat(least), build.load(total)), y, to)

    @compiled_as(write)
    def multiply_rows(
        x: Array,
        starts: Array,
        p: Any,
        rows: Any,
        runs: Any,
        next_run: Any,
        run: Any,
        W: Array,
        w: Any,
        pitch: Any,
        next_w: Any,
        b: Array,
        first_b: Any,
        next_b: Any,
        least: Any,
        y: Array,
        t: Any,
        next_t: Any,
        width: Any,
    ) -> None:
        """Write the row at starts[p] of x, times W, to y[t]; the next of ``rows`` rows to y[t + next_t], and so on.

        To the row is added what begins at b[first_b], to the next one what is ``next_b`` further on, and so on; b may
        be y. What is below ``least`` becomes that. A row of x is ``runs`` runs of ``run`` numbers, which begin
        ``next_run`` apart. The matrix begins at W[w], its rows are ``pitch`` apart, and ``width`` numbers of each are
        used. (The number ``next_w`` after each of these is fetched into the cache, where that is wanted.)
        """
        for i in range(rows):
            to = t + i * next_t
            for r in range(width):
                y[to + r] = b[first_b + i * next_b + r]
            place = w
            for j in range(runs):
                start = starts[p + i] + j * next_run
                for k in range(run):
                    for r in range(width):
                        y[to + r] += x[start + k] * W[place + r]
                    place += pitch
            for r in range(width):
                y[to + r] = least if y[to + r] <= least else y[to + r]

    return multiply_rows


multiply_tile = _products_of(TILE)
multiply_even_tile = _products_of(TILE, TILE - 1)
multiply_tile_and_fetch = _products_of(TILE, TILE - 1, ahead=True)


def _write_dots(
    code: Code,
    x: Any,
    starts: Any,
    runs: Any,
    next_run: Any,
    run: Any,
    W: Any,
    w: Any,
    next_w: Any,
    columns: Any,
    pitch: Any,
    y: Any,
    t: Any,
    next_t: Any,
) -> None:
    build, zeros = code.builder, Vector(code, code.lanes, 0).zeros
    corners = [build.gep(x, [code.element(starts, code.integer(i))]) for i in range(TILE)]
    for count in code.cases(columns, range(1, DOTS + 1)):
        sums = [[code.variable(zeros) for _ in range(count)] for _ in corners]
        with code.loop(code.integer(0), runs) as i:
            row, begin = build.add(w, build.mul(i, pitch)), build.mul(i, next_run)
            for k, (vector,) in code.blocks(run, 1):
                place = build.add(row, k)
                factors = [
                    vector.load(W, build.add(place, build.mul(next_w, code.integer(column)))) for column in range(count)
                ]
                for corner, totals in zip(corners, sums, strict=True):
                    numbers = vector.load(corner, build.add(begin, k))
                    for total, factor in zip(totals, factors, strict=True):
                        code.add_product(total, numbers, factor)
        vectors = [build.load(total) for totals in sums for total in totals]
        found = code.sums_of(vectors)
        for i in range(TILE):
            for column in range(count):
                lane = i * count + column
                number = build.extract_element(found[lane // code.lanes], code.integer(lane % code.lanes))
                to = build.add(build.add(t, build.mul(next_t, code.integer(i))), code.integer(column))
                build.store(number, build.gep(y, [to]))


@compiled_as(_write_dots)
def dot_tile(
    x: Array,
    starts: Array,
    runs: Any,
    next_run: Any,
    run: Any,
    W: Array,
    w: Any,
    next_w: Any,
    columns: Any,
    pitch: Any,
    y: Array,
    t: Any,
    next_t: Any,
) -> None:
    """Write TILE rows of x, times up to DOTS columns, to y[t], y[t + next_t], and so on.

    The rows are as in ``multiply_tile``, from starts[0] on. A column has as many runs, which begin ``pitch`` apart from
    W[w] on; the next column begins ``next_w`` later.
    """
    for p in range(TILE):
        for column in range(columns):
            total = y.dtype.type(0)
            for i in range(runs):
                for k in range(run):
                    total += x[starts[p] + i * next_run + k] * W[w + column * next_w + i * pitch + k]
            y[t + uint(p) * next_t + column] = total
