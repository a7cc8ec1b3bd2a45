"""Small symmetric systems, as the steps of a fit and its continuum need them, in compiled code."""

from payneflow.simd import part

TINY = 1e-300  # against 0/0 where a parameter has no effect at all
LEAST_PIVOT = 1e-13  # of the diagonal element: what is left of it is rounding


@part
def cholesky(a, n, least_pivot):
    """Lower triangular factor of the leading (n, n) of `a`, in place; returns how many leading rows have one.

    A row has none where less than `least_pivot` of its diagonal element is left: it follows from those above it.
    """
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j]
            for k in range(j):
                rest -= a[i, k] * a[j, k]
            if i == j:
                if not rest > least_pivot * a[i, i]:
                    return i
                a[i, i] = rest**0.5
            else:
                a[i, j] = rest / a[j, j]
    return n


@part
def solve_factored(factor, b, n):
    """b (n,) <- the solution of the system whose Cholesky factor this is."""
    for i in range(n):
        for k in range(i):
            b[i] -= factor[i, k] * b[k]
        b[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= factor[k, i] * b[k]
        b[i] /= factor[i, i]
