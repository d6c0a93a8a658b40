package fec

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

var payloadIDCases = []struct {
	id  EncodingID
	raw string
	pid PayloadID
}{
	{CompactNoCode, "12345678", PayloadID{SBN: 0x1234, ESI: 0x5678}},
	{ReedSolomonGF256, "12345678", PayloadID{SBN: 0x123456, ESI: 0x78}},
	{Raptor, "12345678", PayloadID{SBN: 0x1234, ESI: 0x5678}},
	{ReedSolomonGF2M, "12345678", PayloadID{SBN: 0x123456, ESI: 0x78}},
	{LDPCStaircase, "12345678", PayloadID{SBN: 0x123, ESI: 0x45678}},
	{RaptorQ, "12345678", PayloadID{SBN: 0x12, ESI: 0x345678}},
	{SmallBlockSystematic, "123456789abcdef0", PayloadID{SBN: 0x12345678, SBL: 0x9abc, ESI: 0xdef0}},
}

func TestPayloadID(t *testing.T) {
	for _, c := range payloadIDCases {
		raw := unhex(t, c.raw)
		require.Len(t, raw, c.id.PayloadIDLen())
		got, err := ParsePayloadID(c.id, append(raw, 0xff))
		require.NoError(t, err)
		require.Equal(t, c.pid, got)
		b, err := AppendPayloadID(nil, c.id, c.pid)
		require.NoError(t, err)
		require.Equal(t, raw, b)
		for n := range raw {
			_, err := ParsePayloadID(c.id, raw[:n])
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	for _, c := range []struct {
		id  EncodingID
		pid PayloadID
	}{
		{CompactNoCode, PayloadID{SBN: 1 << 16}},
		{CompactNoCode, PayloadID{ESI: 1 << 16}},
		{ReedSolomonGF256, PayloadID{SBN: 1 << 24}},
		{ReedSolomonGF256, PayloadID{ESI: 1 << 8}},
		{RaptorQ, PayloadID{SBN: 1 << 8}},
		{RaptorQ, PayloadID{ESI: 1 << 24}},
		{RaptorQ, PayloadID{SBL: 1}},
		{SmallBlockSystematic, PayloadID{ESI: 1 << 16}},
	} {
		b, err := AppendPayloadID(nil, c.id, c.pid)
		require.ErrorIs(t, err, ErrInvalid)
		require.Empty(t, b)
	}
	_, err := ParsePayloadID(LDPCTriangle, make([]byte, 8))
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = AppendPayloadID(nil, LDPCTriangle, PayloadID{})
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestPayloadIDDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 8)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b, _ := AppendPayloadID(buf, RaptorQ, PayloadID{SBN: 1, ESI: 2})
		p, _ := ParsePayloadID(RaptorQ, b)
		if p.ESI != 2 {
			panic("wrong")
		}
	}))
}

func TestEncodingIDString(t *testing.T) {
	require.Equal(t, "RaptorQ", RaptorQ.String())
	require.Equal(t, "FEC Encoding ID 77", EncodingID(77).String())
}

func FuzzParsePayloadID(f *testing.F) {
	for _, c := range payloadIDCases {
		f.Add(uint8(c.id), unhex(f, c.raw))
	}
	f.Fuzz(func(t *testing.T, id uint8, b []byte) {
		p, err := ParsePayloadID(EncodingID(id), b)
		if err != nil {
			return
		}
		raw, err := AppendPayloadID(nil, EncodingID(id), p)
		require.NoError(t, err)
		require.Equal(t, b[:EncodingID(id).PayloadIDLen()], raw)
	})
}
