package cmaf

import (
	"encoding/binary"
	"io"
	"math"
)

// Rebase moves a chunk to another place of the timeline, in place: the
// sequence_number of mfhd becomes sequence, the baseMediaDecodeTime of tfdt
// becomes decodeTime, and the earliest_presentation_time of each sidx before
// the moof moves by as much.
//
// b must begin at a box and hold all up to the end of the moof; of the mdat it
// may hold any part. On an error b is unchanged. The box versions stay: a time
// beyond 32 bits in a version 0 box is ErrRange. A moof with more than one track
// is ErrOrder, since tracks may differ in time scale. A prft box is left as it
// is: its wall-clock time is the caller's to say.
func Rebase(b []byte, sequence uint32, decodeTime uint64) error {
	var (
		moof  box
		sidx  [maxSidx]box
		nsidx int
	)
	r := boxes{rest: b}
	for moof.typ == 0 {
		x, ok, err := r.next()
		switch {
		case err != nil:
			return err
		case !ok:
			return &Error{Offset: r.off, Box: boxMoof, Err: io.ErrUnexpectedEOF}
		case x.typ == boxSidx:
			if nsidx == maxSidx {
				return x.fail(ErrLimit)
			}
			if len(x.body) < 16 || x.body[0] != 0 && len(x.body) < 20 {
				return x.fail(ErrSize)
			}
			sidx[nsidx] = x
			nsidx++
		case x.typ == boxMoof:
			moof = x
		}
	}
	mfhd, tfdt, err := timeBoxes(&moof)
	if err != nil {
		return err
	}

	// Check all before anything is written.
	was, wide := boxTime(tfdt.body, 4)
	if !wide && decodeTime > math.MaxUint32 {
		return tfdt.fail(ErrRange)
	}
	delta := decodeTime - was // modulo 2^64, as are the sums below
	for i := range sidx[:nsidx] {
		if v, wide := boxTime(sidx[i].body, 12); !wide && v+delta > math.MaxUint32 {
			return sidx[i].fail(ErrRange)
		}
	}

	binary.BigEndian.PutUint32(mfhd.body[4:], sequence)
	setBoxTime(tfdt.body, 4, decodeTime)
	for _, x := range sidx[:nsidx] {
		v, _ := boxTime(x.body, 12)
		setBoxTime(x.body, 12, v+delta)
	}
	return nil
}

// maxSidx bounds the index boxes of one chunk; packagers write one.
const maxSidx = 4

// timeBoxes returns mfhd and the only tfdt of a moof.
func timeBoxes(moof *box) (mfhd, tfdt box, err error) {
	tracks := 0
	for r := moof.boxes(); ; {
		x, ok, err := r.next()
		if err != nil {
			return mfhd, tfdt, err
		}
		if !ok {
			break
		}
		switch x.typ {
		case boxMfhd:
			if len(x.body) < 8 {
				return mfhd, tfdt, x.fail(ErrSize)
			}
			mfhd = x
		case boxTraf:
			if tracks++; tracks > 1 {
				return mfhd, tfdt, x.fail(ErrOrder)
			}
			if tfdt, err = findTfdt(&x); err != nil {
				return mfhd, tfdt, err
			}
		}
	}
	if mfhd.typ == 0 || tfdt.typ == 0 {
		return mfhd, tfdt, moof.fail(ErrOrder)
	}
	return mfhd, tfdt, nil
}

func findTfdt(traf *box) (tfdt box, err error) {
	for r := traf.boxes(); ; {
		x, ok, err := r.next()
		if err != nil || !ok {
			return box{}, err
		}
		if x.typ != boxTfdt {
			continue
		}
		if len(x.body) < 8 || x.body[0] != 0 && len(x.body) < 12 {
			return box{}, x.fail(ErrSize)
		}
		return x, nil
	}
}

// boxTime reads the time at offset i of the body of a full box, whose version
// says whether it has 32 or 64 bits.
func boxTime(body []byte, i int) (v uint64, wide bool) {
	if body[0] == 0 {
		return uint64(binary.BigEndian.Uint32(body[i:])), false
	}
	return binary.BigEndian.Uint64(body[i:]), true
}

func setBoxTime(body []byte, i int, v uint64) {
	if body[0] == 0 {
		binary.BigEndian.PutUint32(body[i:], uint32(v))
	} else {
		binary.BigEndian.PutUint64(body[i:], v)
	}
}
