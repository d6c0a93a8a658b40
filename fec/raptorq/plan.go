package raptorq

import "github.com/treedn/treedn/fec/internal/gf256"

// plan is a recipe that turns the values of given encoding symbols into the
// intermediate symbols. It depends on K' and on which symbols are given, never
// on their values, and is immutable once built.
//
// Columns solved by peeling come first, then dense ones, which are inactive and
// solved by a left-over binary row, then those that only HDPC rows solve
// (rest). With C the intermediate symbols and D the values of the rows:
//
//  1. forward, for peeled and then dense columns: C[col] = D[row] + sum of the
//     C before. Inactive columns that are not yet solved count as zero.
//  2. The HDPC rows, reduced by the dense ones, give the rest.
//  3. back, for dense columns from last to first: C[col] += sum of the C after.
//  4. final, for peeled columns: C[col] = D[row] + sum of the C before and after.
//
// Computing the peeled columns twice from the sparse rows is much cheaper than
// keeping what each owes to the inactive columns, which would be dense.
//
// A plan runs on a slab of columns: the intermediate symbols, then one
// accumulator for each HDPC row, then the running sum of the HDPC rows.
type plan struct {
	params params

	forward, back, final gf256.Program

	// rest[r] is the sum over i of restCoef[i*len(rest)+r] * column restIn[i]
	// after step 1: of the accumulators, the running sum and dense columns.
	rest     []uint16
	restIn   []uint16
	restCoef []uint8
	pairs    []uint8 // the two HDPC rows of each column but the last
}

// columns is the number of columns of a slab.
func (p *params) columns() int { return p.l + p.h + 1 }

// accumulator is the column of the first HDPC row's sum.
func (p *params) accumulator() int { return p.l }

// running is the column of the HDPC rows' running sum.
func (p *params) running() int { return p.l + p.h }

// extraInactive bounds the columns that peeling may add to the P permanently
// inactive ones. Random symbol sets need about 200 at the largest K'; the bound
// keeps symbol sets picked by an adversary from taking cubic time.
const extraInactive = 1536

// maxRows bounds the symbols that a plan can use: programs count in 16 bits.
const maxRows = 1<<16 - 1

// size is the approximate memory that the plan holds, in octets.
func (pl *plan) size() int {
	return 2*(cap(pl.forward)+cap(pl.back)+cap(pl.final)+cap(pl.rest)+cap(pl.restIn)) +
		cap(pl.restCoef) + cap(pl.pairs) + 512
}

// planner makes plans and keeps the memory that it takes. The plans are in that
// memory, too: the next one overwrites them.
type planner struct {
	plan    plan
	rows    rows
	peeler  peeler
	builder builder
}

// make plans for the encoding symbols with the given ISIs, at most maxRows. If
// these do not determine the block it returns a nil plan and the number of
// further symbols that are needed at least.
func (n *planner) make(p *params, isis []uint32) (pl *plan, need int) {
	if len(isis) < p.kp {
		return nil, p.kp - len(isis)
	}
	n.rows.build(p, isis)
	n.peeler.init(p, &n.rows)
	if !n.peeler.run(p.p + extraInactive) {
		return nil, 1
	}
	n.plan.params = *p
	if need := n.builder.build(&n.plan, &n.rows, &n.peeler); need > 0 {
		return nil, need
	}
	return &n.plan, 0
}

// clone copies the plan into memory of its own, without room for more.
func (pl *plan) clone() *plan {
	c := *pl
	c.forward = exact(pl.forward)
	c.back = exact(pl.back)
	c.final = exact(pl.final)
	c.rest = exact(pl.rest)
	c.restIn = exact(pl.restIn)
	c.restCoef = exact(pl.restCoef)
	c.pairs = exact(pl.pairs)
	return &c
}

func exact[S ~[]E, E any](s S) S {
	c := make(S, len(s))
	copy(c, s)
	return c
}

// resize returns s with length n and any content.
func resize[S ~[]E, E any](s S, n int) S {
	if cap(s) < n {
		return make(S, n, n+n/8)
	}
	return s[:n]
}

// zeroed returns s with length n and zeros.
func zeroed[S ~[]E, E any](s S, n int) S {
	s = resize(s, n)
	clear(s)
	return s
}
