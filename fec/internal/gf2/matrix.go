package gf2

// Matrix is a matrix over GF(2). Each row lists the columns of its ones, none
// twice. Rows are appended; those after a call of [Matrix.StartDense] are too long
// to peel with and are used for the inactive columns alone.
type Matrix struct {
	columns int
	cols    []uint32
	ends    []uint32
	dense   int // the first dense row, or -1
}

// NewMatrix returns a matrix without rows. The sizes are hints.
func NewMatrix(columns, rows, ones int) *Matrix {
	return &Matrix{
		columns: columns,
		cols:    make([]uint32, 0, ones),
		ends:    make([]uint32, 0, rows),
		dense:   -1,
	}
}

// Append appends a row.
func (m *Matrix) Append(cols ...uint32) {
	m.cols = append(m.cols, cols...)
	m.ends = append(m.ends, uint32(len(m.cols)))
}

// StartDense makes the rows that follow dense ones.
func (m *Matrix) StartDense() { m.dense = len(m.ends) }

// Rows returns the number of rows.
func (m *Matrix) Rows() int { return len(m.ends) }

// Columns returns the number of columns.
func (m *Matrix) Columns() int { return m.columns }

// Row returns the columns of row i.
func (m *Matrix) Row(i int) []uint32 {
	start := uint32(0)
	if i > 0 {
		start = m.ends[i-1]
	}
	return m.cols[start:m.ends[i]:m.ends[i]]
}

// sparse returns the number of rows that are not dense.
func (m *Matrix) sparse() int {
	if m.dense < 0 {
		return len(m.ends)
	}
	return m.dense
}
