package fdt_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
)

// The attributes and elements of 3GPP and DVB, in the namespaces of their schemas.
const extended = `<?xml version="1.0" encoding="UTF-8"?>
<FDT-Instance xmlns="urn:IETF:metadata:2005:FLUTE:FDT" xmlns:mbms2009="urn:3GPP:metadata:2009:MBMS:FLUTE:FDT_ext"
  xmlns:mbms2012="urn:3GPP:metadata:2012:MBMS:FLUTE:FDT" xmlns:mbms2015="urn:3GPP:metadata:2015:MBMS:FLUTE:FDT"
  xmlns:sv="urn:3gpp:metadata:2009:MBMS:schemaVersion" xmlns:e="urn:dvb:metadata:ExtendedFileDeliveryTable:2022"
  Expires="4004201570">
  <File TOI="1" Content-Location="a" mbms2009:Decryption-KEY-URI="urn:key" mbms2012:FEC-Redundancy-Level="25"
    mbms2015:IndependentUnitPositions=" 0 1416  99999999999 " e:Content-Digest="sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:, md5=:x:, sha-512=broken"
    e:Repr-Digest="sha-256=:bad:">
    <Group>one</Group><Group>two</Group>
    <MBMS-Session-Identity>17</MBMS-Session-Identity>
    <MBMS-Session-Identity>256</MBMS-Session-Identity>
    <sv:delimiter>0</sv:delimiter>
    <e:Signature scope="@@Content-Location @@Content-Digest" created="1700000000" algorithm="rsa-v1_5-sha256" keyId="00fF">
      AQID
      BA==
    </e:Signature>
    <e:Signature keyUri="urn:x">%%%</e:Signature>
  </File>
  <Group>one</Group>
  <MBMS-Session-Identity-Expiry value="4004201570">17</MBMS-Session-Identity-Expiry>
  <MBMS-Session-Identity-Expiry value="x">18</MBMS-Session-Identity-Expiry>
</FDT-Instance>`

func TestExtensions(t *testing.T) {
	in, err := fdt.Parse([]byte(extended))
	require.NoError(t, err)
	require.Equal(t, uint8(1), in.Version)
	require.Equal(t, []string{"one"}, in.Groups)
	require.Equal(t, []fdt.SessionIdentityExpiry{{Identity: 17, Expiry: 4004201570}}, in.SessionIdentityExpiries)
	f := in.Files[0]
	require.Equal(t, "urn:key", f.DecryptionKeyURI)
	require.Equal(t, uint32(25), f.FECRedundancyLevel)
	require.Equal(t, []uint64{0, 1416, 99999999999}, f.IndependentUnitPositions)
	require.Equal(t, []string{"one", "two"}, f.Groups)
	require.Equal(t, []uint8{17}, f.SessionIdentities)
	require.Equal(t, "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:", f.ContentDigest.String())
	require.Nil(t, f.ContentDigest.SHA512)
	require.True(t, f.ReprDigest.IsZero())
	require.Equal(t, []fdt.Signature{{
		Value: []byte{1, 2, 3, 4}, Scope: []string{"@@Content-Location", "@@Content-Digest"},
		Created: "1700000000", Algorithm: "rsa-v1_5-sha256", KeyID: []byte{0, 0xff},
	}}, f.Signatures)

	var again *fdt.Instance
	b, err := in.Append(nil)
	require.NoError(t, err)
	again, err = fdt.Parse(b)
	require.NoError(t, err)
	require.Equal(t, in, again)
}

func TestExtensionsEmbedded(t *testing.T) {
	in := full()
	b, err := in.AppendEmbedded(nil)
	require.NoError(t, err)
	b = bytes.Replace(b, []byte("<FDT-Instance"), []byte(`<FDT-Instance xmlns="tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/S-TSID/1.0/"`), 1)
	again, err := fdt.Parse(b)
	require.NoError(t, err)
	require.Equal(t, in, again)
}

// One object of each scheme: attributes and back.
func TestFECInfo(t *testing.T) {
	for _, info := range []fec.ObjectInfo{
		{ID: fec.CompactNoCode, TransferLength: 300000, SymbolSize: 1436, MaxBlock: 64},
		{ID: fec.Raptor, TransferLength: 300000, SymbolSize: 1024, SourceBlocks: 1, SubBlocks: 1, Alignment: 4},
		{ID: fec.ReedSolomonGF2M, TransferLength: 300000, SymbolSize: 1024, MaxBlock: 64, MaxSymbols: 96, Group: 1},
		{ID: fec.LDPCStaircase, TransferLength: 300000, SymbolSize: 1024, MaxBlock: 640, MaxSymbols: 960, Group: 1, N1m3: 2, Seed: 7},
		{ID: fec.ReedSolomonGF256, TransferLength: 300000, SymbolSize: 1024, MaxBlock: 64, MaxSymbols: 96},
		{ID: fec.RaptorQ, TransferLength: 300000, SymbolSize: 1024, SourceBlocks: 2, SubBlocks: 1, Alignment: 4},
		{ID: fec.SmallBlockSystematic, TransferLength: 300000, SymbolSize: 1024, MaxBlock: 64, MaxSymbols: 96},
	} {
		f, err := fdt.FECOf(info)
		require.NoError(t, err)
		in := fdt.Instance{Expires: 1, FEC: f, Files: []fdt.File{{TOI: 1, ContentLocation: "a"}}}
		b, err := in.Append(nil)
		require.NoError(t, err)
		out, err := fdt.Parse(b)
		require.NoError(t, err)
		file := out.Resolve(out.Files[0])
		got, err := file.FEC.Info(info.TransferLength)
		require.NoError(t, err)
		require.Equal(t, info, got)
	}
	_, err := fdt.FECOf(fec.ObjectInfo{ID: 99})
	require.ErrorIs(t, err, fec.ErrUnsupported)
	_, err = new(fdt.FEC).Info(1)
	require.ErrorIs(t, err, fec.ErrInvalid, "no symbol size")
}
